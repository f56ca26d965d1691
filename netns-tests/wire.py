# What the stories put on the wire. `wire.py VERB ARG...`; long-running verbs print `ready`.
import socket, struct, sys, threading, time

def family(ip): return socket.AF_INET6 if ':' in ip else socket.AF_INET
KIND = {'tcp': socket.SOCK_STREAM, 'udp': socket.SOCK_DGRAM}

def make(proto, ip):
    s = socket.socket(family(ip), KIND[proto])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s

# --- servers and clients

def serve(proto, ip, port):
    """Echoes, on one port or on `first-last`."""
    first, _, last = port.partition('-')
    for p in range(int(first), int(last or first) + 1):
        s = make(proto, ip)
        s.bind((ip, p))
        if proto == 'tcp': s.listen(64)
        threading.Thread(target=echo_udp if proto == 'udp' else echo_tcp, args=(s,), daemon=True).start()
    print('ready')
    time.sleep(1000)

def echo_udp(s):
    while True:
        data, who = s.recvfrom(65535)
        s.sendto(data, who)

def echo_tcp(s):
    def one(c):
        try:
            while data := c.recv(65536): c.sendall(data)
        except OSError: pass
    while True:
        threading.Thread(target=one, args=(s.accept()[0],), daemon=True).start()

def call(proto, ip, port, sport='0', wait='0.5'):
    """0 when an echo comes back; prints the own address."""
    s = make(proto, ip)
    s.settimeout(float(wait))
    if sport != '0': s.bind(('', int(sport)))
    try:
        s.connect((ip, int(port)))
        s.send(b'hello')
        s.recv(100)
        print(s.getsockname()[0])
    except OSError as e:
        sys.exit(str(e))

def seen_by(proto, ip, port):
    """Serves; prints who called."""
    s = make(proto, ip)
    s.bind((ip, int(port)))
    if proto == 'tcp': s.listen(8)
    print('ready', flush=True)
    while True:
        if proto == 'udp':
            data, who = s.recvfrom(100)
            s.sendto(data, who)
        else:
            c, who = s.accept()
            c.sendall(c.recv(100))
        print('from', who[0], flush=True)

# --- streams: the receiver prints how many bytes it has, ten times a second

def sink(proto, ip, port):
    s = make(proto, ip)
    s.bind((ip, int(port)))
    total = [0]
    def take(c):
        while data := c.recv(65536): total[0] += len(data)
    if proto == 'tcp':
        s.listen(1)
        threading.Thread(target=lambda: take(s.accept()[0]), daemon=True).start()
    else:
        threading.Thread(target=take, args=(s,), daemon=True).start()
    report(total)

def source(ip, port):
    """Sends as fast as it is taken to whoever connects."""
    s = make('tcp', ip)
    s.bind((ip, int(port)))
    s.listen(1)
    print('ready', flush=True)
    c, _ = s.accept()
    while True: c.sendall(b'x' * 1000); time.sleep(0.001)

def pour(proto, ip, port):
    """Connects and sends without end."""
    s = make(proto, ip)
    s.connect((ip, int(port)))
    print('ready', flush=True)
    while True:
        try: s.send(b'x' * 1000)
        except OSError: pass
        time.sleep(0.001)

def drink(ip, port):
    """Connects and receives without end."""
    s = make('tcp', ip)
    s.connect((ip, int(port)))
    total = [0]
    def take():
        while data := s.recv(65536): total[0] += len(data)
    threading.Thread(target=take, daemon=True).start()
    report(total)

def tell(ip, port):
    """Sends datagrams without end to whoever asked once."""
    s = make('udp', ip)
    s.bind((ip, int(port)))
    print('ready', flush=True)
    _, who = s.recvfrom(100)
    while True:
        try: s.sendto(b'x' * 1000, who)
        except OSError: pass
        time.sleep(0.001)

def listen(ip, port):
    """Asks once, and counts the datagrams that come."""
    s = make('udp', ip)
    s.connect((ip, int(port)))
    s.send(b'x')
    total = [0]
    def take():
        while True: total[0] += len(s.recv(65536))
    threading.Thread(target=take, daemon=True).start()
    report(total)

def report(total):
    print('ready', flush=True)
    while True:
        print(total[0], flush=True)
        time.sleep(0.05)

# --- a flood that must not arrive, and its receiver: both outlive the interface

def flood(gate_mac, me_mac, peer_mac, me4, me6, peer4, peer6, pps='10000'):
    """Sends to the peer by way of the gateway and straight at its MAC; prints how many frames went out."""
    frames = [ip_frame(dst, me_mac, udp(a, b, 4000, 80)) for dst in (gate_mac, peer_mac) for a, b in ((me4, peer4), (me6, peer6))]
    per_tick, sent, w, begun = int(pps) // 200, 0, None, time.monotonic()
    print('ready', flush=True)
    for tick in range(10**9):
        try:
            w = w or wire()
            for n in range(per_tick): w.send(frames[(tick + n) % 4]); sent += 1
        except OSError: w = None
        if tick % 20 == 0: print(sent, flush=True)
        time.sleep(max(0, begun + tick / 200 - time.monotonic()))

def hear(ip4, ip6):
    """Prints how many frames of any kind came from these addresses, by whatever interface."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    s.settimeout(0.05)
    four, six, heard = raw(ip4), raw(ip6), 0
    print('ready', flush=True)
    while True:
        try:
            f, where = s.recvfrom(2000)
            theirs = f[26:30] == four or f[22:38] == six or (f[12:14] == b'\x08\x06' and f[28:32] == four)
            if where[2] != socket.PACKET_OUTGOING and theirs: heard += 1
            else: continue
        except OSError: pass
        print(heard, flush=True)

# --- single packets, made by hand

def mac(text): return bytes(int(x, 16) for x in text.split(':'))
def raw(ip): return socket.inet_pton(family(ip), ip)

def checksum(data):
    data += b'\0' * (len(data) % 2)
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff

def packet(src, dst, proto, body, options=b''):
    """An IP packet; `options` are IPv4 options or an IPv6 routing header's body."""
    if family(src) == socket.AF_INET:
        options += b'\0' * (-len(options) % 4)
        head = lambda c: struct.pack('!BBHHHBBH', 0x45 + len(options) // 4, 0, 20 + len(options) + len(body),
                                     7, 0, 64, proto, c) + raw(src) + raw(dst) + options
        return head(checksum(head(0))) + body
    if options: body, proto = bytes([proto]) + options + body, 43
    return struct.pack('!IHBB', 6 << 28, len(body), proto, 64) + raw(src) + raw(dst) + body

def sealed(src, dst, proto, body, at):
    """A transport header with its checksum."""
    pseudo = raw(src) + raw(dst) + struct.pack('!IHBB', len(body), 0, 0, proto)
    if family(src) == socket.AF_INET: pseudo = raw(src) + raw(dst) + struct.pack('!BBH', 0, proto, len(body))
    return body[:at] + struct.pack('!H', checksum(pseudo + body)) + body[at + 2:]

def udp(src, dst, sport=4000, dport=4000, data=b'moat', **more):
    body = struct.pack('!HHHH', sport, dport, 8 + len(data), 0) + data
    return packet(src, dst, 17, sealed(src, dst, 17, body, 6), **more)

def tcp(src, dst, sport=4000, dport=80, flags=2):
    body = struct.pack('!HHIIBBHHH', sport, dport, 1, 1, 0x50, flags, 65535, 0, 0)
    return packet(src, dst, 6, sealed(src, dst, 6, body, 16))

def echo(src, dst):
    if family(src) == socket.AF_INET:
        body = struct.pack('!BBHHH', 8, 0, 0, 1, 1)
        return packet(src, dst, 1, body[:2] + struct.pack('!H', checksum(body)) + body[4:])
    return icmp6(src, dst, struct.pack('!BBHHH', 128, 0, 0, 1, 1))

def icmp6(src, dst, body): return packet(src, dst, 58, sealed(src, dst, 58, body, 2))

def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8): crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff

def sctp(src, dst, dport, sport=4000):
    chunk = struct.pack('!BBHIIHHI', 1, 0, 20, 7, 65536, 1, 1, 7)
    body = lambda c: struct.pack('!HHI', sport, dport, 0)[:8] + struct.pack('<I', c) + chunk
    return packet(src, dst, 132, body(crc32c(body(0))))

def solicit(src, dst, about, source_mac):
    body = struct.pack('!BBHI', 135, 0, 0, 0) + raw(about) + b'\1\1' + mac(source_mac)
    p = icmp6(src, dst, body)
    return p[:7] + b'\xff' + p[8:]

def arp(op, smac, sip, tmac, tip):
    return struct.pack('!HHBBH', 1, 0x800, 6, 4, op) + mac(smac) + raw(sip) + mac(tmac) + raw(tip)

ETHER = {4: 0x800, 6: 0x86dd}
def frame(dst, src, kind, body, tags=b''): return mac(dst) + mac(src) + tags + struct.pack('!H', kind) + body
def ip_frame(dst, src, body, tags=b''): return frame(dst, src, ETHER[body[0] >> 4], body, tags)

def wire(iface='eth0'):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind((iface, 0))
    return s

def emit(iface, dmac, smac, kind, src, dst, dport='4000', sport='4000', flags='2'):
    """One packet from an interface: udp, tcp, echo, sctp."""
    d, s = int(dport), int(sport)
    body = {'udp': lambda: udp(src, dst, s, d), 'tcp': lambda: tcp(src, dst, s, d, int(flags)),
            'echo': lambda: echo(src, dst), 'sctp': lambda: sctp(src, dst, d, s)}[kind]()
    w = wire(iface)
    for _ in range(3): w.send(ip_frame(dmac, smac, body))

TAGS = {'vlan 0': '81000000', 'vlan 1': '81000001', 'vlan 7': '81000007', 'priority': '8100e000',
        'qinq': '88a8000281000003', 'vlan 0 twice': '8100000081000000', 'vlan 0 three times': '810000008100000081000000'}
EVERYBODY = 'ff:ff:ff:ff:ff:ff'
GROUPS = ['01:80:c2:00:00:0%x' % n for n in range(16)] + [EVERYBODY, '01:00:5e:00:00:01', '01:00:5e:00:00:fb',
          '33:33:00:00:00:01', '33:33:00:00:00:fb', '01:1b:19:00:00:00']

def battery(me_mac, me4, me6, peer_mac, peer4, peer6, gate_mac, gate4, other4, other6):
    """Every frame that one container can think of to reach another."""
    w, count = wire(), 0
    def send(f):
        nonlocal count
        try: w.send(f); count += 1
        except OSError as e: print('cannot send', e)
    pairs = [(me4, peer4), (me6, peer6)]
    forged = pairs + [(peer4, peer4), (peer6, peer6), (gate4, peer4), ('fe80::1', peer6), (other4, peer4), (other6, peer6),
                      ('8.8.8.8', peer4), ('2001:db8::1', peer6), ('127.0.0.1', peer4), ('::1', peer6), ('0.0.0.0', peer4), ('::', peer6)]
    # Straight to the peer, to the gateway with the peer's address, and to everybody; true and forged sources.
    for dst in (peer_mac, gate_mac, EVERYBODY):
        for smac in (me_mac, peer_mac, gate_mac, '02:00:00:00:00:99'):
            for src, to in forged:
                for body in (udp(src, to), tcp(src, to), tcp(src, to, 80, 4000, 0x12), tcp(src, to, flags=0x10), echo(src, to), sctp(src, to, 80)):
                    send(ip_frame(dst, smac, body))
    # Tags.
    for tags in TAGS.values():
        for dst in (peer_mac, gate_mac, EVERYBODY):
            for src, to in pairs: send(ip_frame(dst, me_mac, udp(src, to), bytes.fromhex(tags)))
            send(frame(dst, me_mac, 0x806, arp(1, me_mac, me4, peer_mac, peer4), bytes.fromhex(tags)))
    # Groups, reserved ones too, with IP, with nothing known, and with LLC.
    for dst in GROUPS:
        for src, to in [(me4, '255.255.255.255'), (me4, '224.0.0.251'), (me6, 'ff02::1'), (me6, 'ff02::fb')] + pairs:
            send(ip_frame(dst, me_mac, udp(src, to)))
        for kind in (0x88cc, 0x88b5, 0x8809, 0x888e, 0x9000): send(frame(dst, me_mac, kind, b'moat' * 16))
        send(mac(dst) + mac(me_mac) + struct.pack('!H', 38) + bytes.fromhex('424203') + b'\0' * 40)
    # ARP and neighbour discovery: questions, answers, gratuitous ones, to the peer and to all.
    for dst in (peer_mac, gate_mac, EVERYBODY):
        for op in (1, 2):
            for sip in (me4, gate4, peer4, other4, '0.0.0.0'):
                for smac in (me_mac, gate_mac): send(frame(dst, me_mac, 0x806, arp(op, smac, sip, peer_mac, peer4)))
    sol = 'ff02::1:ff' + peer6.split(':')[-1].rjust(6, '0')[:2] + ':' + peer6.split(':')[-1].rjust(6, '0')[2:]
    link_local = 'fe80::1234'
    for dst in (peer_mac, gate_mac, '33:33:ff:00:00:03', EVERYBODY):
        for src in (me6, link_local, '::', 'fe80::1'):
            for to in (sol, peer6, 'ff02::1'):
                send(ip_frame(dst, me_mac, solicit(src, to, peer6, me_mac)))
                for kind in (133, 134, 136, 137):
                    b = struct.pack('!BBHI', kind, 0, 0, 0x60000000) + raw(peer6) + raw(me6) + b'\2\1' + mac(me_mac)
                    p = icmp6(src, to, b)
                    send(ip_frame(dst, me_mac, p[:7] + b'\xff' + p[8:]))
            send(ip_frame(dst, me_mac, udp(src, peer6)))
            send(ip_frame(dst, me_mac, echo(src, 'ff02::1')))
    # Source routing through the gateway, record route, IPv6 routing header types 0 and 2.
    for kind in (0x83, 0x89, 0x07):
        send(ip_frame(gate_mac, me_mac, udp(me4, gate4, options=bytes([kind, 7, 4]) + raw(peer4) + b'\0')))
        send(ip_frame(gate_mac, me_mac, udp(me4, peer4, options=bytes([kind, 7, 4]) + raw(peer4) + b'\0')))
    for kind in (0, 2):
        for via in ('fe80::1', peer6):
            send(ip_frame(gate_mac, me_mac, udp(me6, via, options=bytes([2, kind, 1, 0, 0, 0, 0]) + raw(peer6))))
    # ICMP redirects and errors that quote a flow of the peer's.
    quoted = udp(peer4, me4)[:28]
    for kind, code in ((5, 1), (3, 1), (3, 4), (11, 0)):
        body = struct.pack('!BBH', kind, code, 0) + raw(me4) + quoted
        for src in (me4, gate4):
            send(ip_frame(gate_mac, me_mac, packet(src, peer4, 1, body[:2] + struct.pack('!H', checksum(body)) + body[4:])))
    # Fragments: a first one too short for its ports, and one that starts late.
    whole = udp(me4, peer4, data=b'moat' * 20)
    for at, more, part in ((0, 0x2000, whole[20:24]), (8, 0x2000, whole[28:60]), (60, 0, whole[40:])):
        head = bytearray(whole[:20])
        head[2:4] = struct.pack('!H', 20 + len(part))
        head[6:8] = struct.pack('!H', more | at // 8)
        head[10:12] = b'\0\0'
        head[10:12] = struct.pack('!H', checksum(bytes(head)))
        send(ip_frame(gate_mac, me_mac, bytes(head) + part))
    for n in (14, 15, 20, 33): send((mac(peer_mac) + mac(me_mac) + b'\x08\x00' + b'\x45' * 40)[:n])
    print(count)

VERBS = {f.__name__: f for f in (serve, call, seen_by, sink, source, pour, drink, flood, hear, tell, listen, emit, battery)}
if __name__ == '__main__':
    try: VERBS[sys.argv[1]](*sys.argv[2:])
    except KeyboardInterrupt: pass
