# A5: frames to everybody, and frames that are not IP.

TO_ALL = {'broadcast': ('255.255.255.255', 'ff02::1'), 'mDNS': ('224.0.0.251', 'ff02::fb'), 'LLMNR': ('224.0.0.252', 'ff02::1:3'),
          'SSDP': ('239.255.255.250', 'ff02::c'), 'all routers': ('224.0.0.2', 'ff02::2'), 'a global group': ('239.1.2.3', 'ff0e::1:2:3')}
PORTS = {'mDNS': 5353, 'LLMNR': 5355, 'SSDP': 1900}
for what, addresses in TO_ALL.items():
    @attack('A5', f'datagram to {what}')
    def _(e, f, what=what, addresses=addresses):
        to = addresses[f == 6]
        for dmac in (BROADCAST if to == '255.255.255.255' else group_mac(to), BROADCAST, e.victim['mac']):
            for src in (e.me[f],) + (('0.0.0.0',) if f == 4 else (link_local(e.me['mac']), '::')):
                send(Ether(src=e.me['mac'], dst=dmac) / ip(f, src, to) / UDP(sport=4000, dport=PORTS.get(what, 4000)) / TOKEN)

@attack('A5', 'datagram to the broadcast address of the network', families=(4,))
def _(e, f):
    for last in ('255', '0'):
        for dmac in (BROADCAST, e.gate['mac'], e.victim['mac']):
            send(Ether(src=e.me['mac'], dst=dmac) / IP(src=e.me[4], dst='.'.join(e.me[4].split('.')[:2] + [last, last])) / UDP(dport=4000) / TOKEN)

@attack('A5', 'rogue DHCP: offer and acknowledgement', families=(4,))
def _(e, f):
    for kind in ('discover', 'offer', 'ack'):
        send(Ether(src=e.me['mac'], dst=BROADCAST) / IP(src=e.me[4], dst='255.255.255.255') / UDP(sport=67, dport=68)
             / BOOTP(op=2, yiaddr=e.nobody[4], siaddr=e.me[4], chaddr=bytes(6)) / DHCP(options=[('message-type', kind), ('router', e.me[4]), 'end']))

@attack('A5', 'rogue DHCPv6', families=(6,))
def _(e, f):
    for sport, dport, dst in ((547, 546, e.victim[6]), (546, 547, 'ff02::1:2')):
        to = e.victim['mac'] if dst == e.victim[6] else group_mac(dst)
        send(Ether(src=e.me['mac'], dst=to) / IPv6(src=link_local(e.me['mac']), dst=dst) / UDP(sport=sport, dport=dport) / (b'\2abc' + TOKEN))

for what, kind in {'an experimental protocol': 0x88b5, 'loopback test': 0x9000, 'LLDP': 0x88cc, 'MPLS': 0x8847, 'PPPoE': 0x8863, 'IPX': 0x8137,
                   'MACsec': 0x88e5, 'EAPOL': 0x888e, 'batman': 0x4305, 'reverse ARP': 0x8035, 'AoE': 0x88a2, 'FCoE': 0x8906,
                   'HSR': 0x892f, 'TRILL': 0x22f3, 'nothing': 0}.items():
    @attack('A5', f'frame of {what}', families=(4,))
    def _(e, f, kind=kind):
        for dmac in (e.victim['mac'], BROADCAST, '01:1b:19:00:00:00'):
            send(Ether(src=e.me['mac'], dst=dmac, type=kind) / Raw(TOKEN * 6))

TAGS = {'VLAN 0': [0x81000000], 'VLAN 1': [0x81000001], 'VLAN 7': [0x81000007], 'VLAN 4095': [0x81000fff], 'priority': [0x8100e000],
        'QinQ': [0x88a80002, 0x81000003], 'VLAN 0 twice': [0x81000000] * 2, 'VLAN 0 eight times': [0x81000000] * 8, 'old QinQ': [0x91000001]}
for what, tags in TAGS.items():
    @attack('A5', f'tagged {what}')
    def _(e, f, tags=tags):
        head = b''.join(struct.pack('!I', t) for t in tags)
        for dmac in (e.victim['mac'], e.gate['mac'], BROADCAST):
            raw = bytes(Ether(src=e.me['mac'], dst=dmac) / ip(f, e.me[f], e.victim[f]) / kinds(f)['udp'])
            send(Raw(raw[:12] + head + raw[12:]))
    @attack('A5', f'ARP, tagged {what}', families=(4,))
    def _(e, f, tags=tags):
        raw = bytes(Ether(src=e.me['mac'], dst=BROADCAST) / ARP(op=1, hwsrc=e.me['mac'], psrc=e.me[4], pdst=e.victim[4]))
        send(Raw(raw[:12] + b''.join(struct.pack('!I', t) for t in tags) + raw[12:]))

@attack('A5', 'LLC, SNAP and spanning tree', families=(4,))
def _(e, f):
    for dmac in ('01:80:c2:00:00:00', e.victim['mac'], BROADCAST):
        send(Dot3(src=e.me['mac'], dst=dmac) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP(rootmac=e.me['mac'], rootid=0) / Raw(TOKEN))
        send(Dot3(src=e.me['mac'], dst=dmac) / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(code=0x88b5) / Raw(TOKEN))

@attack('A5', 'IP inside SNAP', families=(4,))
def _(e, f):
    send(Dot3(src=e.me['mac'], dst=e.victim['mac']) / LLC(dsap=0xaa, ssap=0xaa, ctrl=3) / SNAP(code=0x800) / IP(src=e.me[4], dst=e.victim[4]) / UDP() / TOKEN)

# A bridge hands what goes to these groups to the machine itself, past what is said of the bridge.
for last in (3, 8, 14):
    @attack('A5', f'datagram for the host in a frame to 01:80:c2:00:00:{last:02x}', arrives('host'))
    def _(e, f, last=last):
        for dst in (e.gate[f], e.host[f]):
            send(Ether(src=e.me['mac'], dst=f'01:80:c2:00:00:{last:02x}') / ip(f, e.me[f], dst) / UDP(sport=4000, dport=7000) / TOKEN)

@attack('A5', 'datagram for the host in a frame to everybody', arrives('host'))
def _(e, f):
    for dst in (e.gate[f], e.host[f]):
        send(Ether(src=e.me['mac'], dst=BROADCAST) / ip(f, e.me[f], dst) / UDP(sport=4000, dport=7000) / TOKEN)

@attack('A5', 'jumbo frames')
def _(e, f):
    shell('ip link set eth0 mtu 9000')
    for size in (1501, 4000, 8900):
        for dmac in (e.victim['mac'], e.gate['mac'], BROADCAST):
            send(Ether(src=e.me['mac'], dst=dmac) / ip(f, e.me[f], e.victim[f]) / UDP(sport=4000, dport=4000) / Raw(TOKEN + b'x' * (size - 60)))
    shell('ip link set eth0 mtu 1500')

@attack('A5', 'runts', families=(4,))
def _(e, f):
    for kind in (0x800, 0x86dd, 0x806, 0x88b5):
        for dmac in (e.victim['mac'], BROADCAST):
            for head in (b'', b'\x45', b'\x60\0\0\0', b'\0\1\x08\0\6\4\0\1'):
                send(Ether(src=e.me['mac'], dst=dmac, type=kind) / Raw(head + TOKEN), at_least=0)
