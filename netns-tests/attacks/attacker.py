# Who owns a container: root in it, raw sockets, any frame. The files beside this one are its
# attacks; `lab.rs` joins them to one program, and starts that in a container and on a plain bridge.
#
# It reads requests as lines of JSON and answers each with one. Every frame carries the token of
# its request, so that whoever receives it knows which attack it came from.
import json, logging, os, select, socket, struct, subprocess, sys, time
logging.getLogger('scapy').setLevel(logging.ERROR)
from scapy.all import (ARP, BOOTP, DHCP, DNS, DNSQR, Dot1AD, Dot1Q, Dot3, Ether, ICMP, ICMPv6DestUnreach, ICMPv6EchoRequest,
                       ICMPv6MLDone, ICMPv6MLQuery, ICMPv6MLReport, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA,
                       ICMPv6ND_Redirect, ICMPv6NDOptDstLLAddr, ICMPv6NDOptPrefixInfo, ICMPv6NDOptRedirectedHdr,
                       ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IP, IPOption, IPv6, IPv6ExtHdrDestOpt,
                       IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, LLC, PadN, Raw, SCTP, SCTPChunkData, STP,
                       SCTPChunkInit, SNAP, TCP, UDP)

BROADCAST = 'ff:ff:ff:ff:ff:ff'
ATTACKS = {}

# --- how an attack shows that it worked

def arrives(*places):
    """A frame, or what a socket was given, comes to one of these places."""
    return {'arrives': list(places)}

def changes(place, line):
    """What this line of shell prints in that place becomes another."""
    return {'changes': [place, line]}

# The attacker itself learns something: what the function returns is not empty.
LEARNS = {'learns': True}

def attack(number, name, shows=arrives('victim'), families=(4, 6), also=(), during=None):
    """Registers an attack, for each family; `number` as in the list, `also` where a frame is no
    break-in, `during` what the victim does meanwhile."""
    def register(do):
        ATTACKS[name] = (do, {'name': name, 'number': number, 'shows': shows, 'families': list(families),
                              'also': list(also), 'during': during})
        return do
    return register

# --- sending

class World:
    """Addresses of everybody in this lab, by role: `e.victim[4]`, `e.victim['mac']`."""
    def __init__(self, about):
        for role, who in about.items():
            setattr(self, role, {int(k) if k.isdigit() else k: v for k, v in who.items()})

WIRES = {}
def wire(iface='eth0'):
    if iface not in WIRES:
        WIRES[iface] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        WIRES[iface].bind((iface, 0))
    return WIRES[iface]

TOKEN, SENT = b'', 0
def send(frame, iface='eth0', at_least=60):
    """Sends it with the token, as a trailer where it has no room inside."""
    global SENT
    raw = bytes(frame)
    if TOKEN not in raw: raw += b'\0' * (at_least - len(raw) - len(TOKEN)) + TOKEN
    try:
        wire(iface).send(raw)
        SENT += 1
    except OSError:
        pass  # The kernel refuses it: too long for the peer's end of the wire.

def ip(f, src, dst, **more):
    return IP(src=src, dst=dst, **more) if f == 4 else IPv6(src=src, dst=dst, **more)

def echo(f): return ICMP(id=7, seq=1) if f == 4 else ICMPv6EchoRequest(id=7, seq=1)

def kinds(f):
    """One packet of each protocol, as it would open a flow."""
    return {'udp': UDP(sport=4000, dport=4000) / TOKEN, 'tcp': TCP(sport=4000, dport=80, flags='S') / TOKEN,
            'icmp': echo(f) / TOKEN, 'sctp': SCTP(sport=4000, dport=80) / SCTPChunkInit() / Raw(TOKEN)}

def shell(line):
    return subprocess.run(['sh', '-c', line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=15).stdout

def together(*lines):
    """What each of these lines prints; they run at the same time."""
    all = [subprocess.Popen(['sh', '-c', l], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for l in lines]
    return [p.communicate(timeout=15)[0] for p in all]

def link_local(mac):
    """What the kernel makes of a MAC."""
    b = [int(x, 16) for x in mac.split(':')]
    b = bytes([b[0] ^ 2, b[1], b[2], 0xff, 0xfe, *b[3:]])
    return socket.inet_ntop(socket.AF_INET6, b'\xfe\x80' + b'\0' * 6 + b)

def solicited(address):
    """The group that listens for solicitations of it."""
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, 'ff02::1:ff00:0')[:13]
                            + socket.inet_pton(socket.AF_INET6, address)[13:])

def group_mac(address):
    raw = socket.inet_pton(socket.AF_INET6 if ':' in address else socket.AF_INET, address)
    return ('33:33:' if ':' in address else '01:00:5e:') + ':'.join('%02x' % x for x in
            (raw[12:] if ':' in address else bytes([raw[1] & 127]) + raw[2:]))

def answers(e, f, frames):
    """What comes back for these frames: everything until the gateway has answered two pings sent
    after them, one after the other."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    ear.bind(('eth0', 3))
    for frame in frames: send(frame)
    came = []
    for n in (7771, 7772):
        ping = ICMP(id=n, seq=1) if f == 4 else ICMPv6EchoRequest(id=n, seq=1)
        wire().send(bytes(Ether(src=e.me['mac'], dst=e.gate['mac']) / ip(f, e.me[f], e.gate[f]) / ping))
        mark, until = struct.pack('!HH', n, 1), time.time() + 2
        while time.time() < until and select.select([ear], [], [], 0.2) is not None:
            ear.setblocking(False)
            try: raw, who = ear.recvfrom(65536)
            except BlockingIOError: continue
            if who[2] == socket.PACKET_OUTGOING: continue
            if mark in raw and Ether(raw).src == e.gate['mac']: break
            came.append(Ether(raw))
    ear.close()
    return came

def words(e, f, came, about):
    """These answers, without whom they are about."""
    def one(p):
        if ARP in p: return f'arp {p[ARP].op}' if p[ARP].psrc == about else None
        if ICMPv6ND_NA in p: return 'advertisement' if p[ICMPv6ND_NA].tgt == about else None
        if ICMP in p: return f'icmp {p[ICMP].type}/{p[ICMP].code} from {"it" if p[IP].src == about else "gate"}'
        if IPv6 in p and p[IPv6].nh == 58 and bytes(p[IPv6].payload)[0] in (1, 2, 3, 4, 129):
            return f'icmp6 {bytes(p[IPv6].payload)[:2].hex()} from {"it" if p[IPv6].src == about else "gate"}'
        if TCP in p: return f'tcp {p[TCP].flags}'
        if UDP in p: return 'udp'
        return None
    return {w for p in came if (w := one(p))}

def difference(e, f, ask):
    """How the answers about the victim differ from those about an address that nobody has. Errors
    are rate-limited, so what was said of one only is asked again."""
    said = {'victim': set(), 'nobody': set()}
    for n in range(e.lab['rounds']):
        if n: time.sleep(0.4)
        for role, heard in said.items():
            who = getattr(e, role)
            heard |= words(e, f, answers(e, f, ask(who)), who[f])
        if said['victim'] == said['nobody']: return []
    return sorted(said['victim'] ^ said['nobody'])

# --- requests

def mark(e, token):
    """Says to those who may be reached from here that all before this was sent."""
    for f in (4, 6):
        for role in ('witness', 'lan'):
            who = getattr(e, role, None)
            if not who: continue
            with socket.socket(socket.AF_INET if f == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as s:
                s.sendto(token, (who[f], 4999))

def main():
    global TOKEN, SENT
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    e = World(json.loads(sys.stdin.readline()))
    print(json.dumps([about for _, about in ATTACKS.values()]), flush=True)
    for line in sys.stdin:
        request, got = json.loads(line), None
        TOKEN, SENT = request['token'].encode(), 0
        if request['do'] == 'mark': mark(e, TOKEN)
        elif request['do'] == 'sh': got = shell(request['line'])
        else: got = ATTACKS[request['do']][0](e, request['family'])
        print(json.dumps({'sent': SENT, 'got': got}), flush=True)
