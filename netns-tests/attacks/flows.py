# A8: what connection tracking could be made to believe. A9: the other way along a link.
# The laboratory has friend -> me:6000 (UDP, TCP) linked, and keeps friend:7777 -> me:6000 open.

def to(e, f, whom, proto):
    """By the gateway and straight, so that a plain bridge has no excuse."""
    for dmac in (e.gate['mac'], whom['mac']):
        send(Ether(src=e.me['mac'], dst=dmac) / ip(f, e.me[f], whom[f]) / proto)

for what, flags in {'SYN-ACK': 'SA', 'ACK': 'A', 'RST': 'R', 'FIN-ACK': 'FA', 'nothing': '', 'all at once': 'FSRPAU', 'SYN and RST': 'SR'}.items():
    @attack('A8', f'first packet with {what}')
    def _(e, f, flags=flags):
        for sport, dport in ((80, 4000), (4000, 80)): to(e, f, e.victim, TCP(sport=sport, dport=dport, flags=flags, seq=9, ack=9) / TOKEN)

@attack('A8', 'answer without a question')
def _(e, f):
    for proto in (UDP(sport=53, dport=4000) / TOKEN, ICMP(type=0, id=7) / TOKEN if f == 4 else ICMPv6EchoRequest(type=129, data=TOKEN),
                  SCTP(sport=80, dport=4000) / SCTPChunkData(data=TOKEN)):
        to(e, f, e.victim, proto)

@attack('A8', 'answer to the flow that two others have', arrives('friend'))
def _(e, f):
    # victim:4000 -> friend:5000, as if we were the victim.
    for smac in (e.me['mac'], e.victim['mac']):
        for dmac in (e.gate['mac'], e.friend['mac']):
            send(Ether(src=smac, dst=dmac) / ip(f, e.victim[f], e.friend[f]) / UDP(sport=4000, dport=5000) / TOKEN)

@attack('A9', 'from the linked service\'s own port, unasked', arrives('friend'))
def _(e, f):
    for proto in (UDP(sport=6000, dport=7778) / TOKEN, TCP(sport=6000, dport=7778, flags='S') / TOKEN,
                  TCP(sport=6000, dport=7778, flags='SA', ack=1) / TOKEN, TCP(sport=6000, dport=7778, flags='A', ack=1) / TOKEN):
        to(e, f, e.friend, proto)

@attack('A9', 'from another port to the port that asked', arrives('friend'))
def _(e, f): to(e, f, e.friend, UDP(sport=6001, dport=7777) / TOKEN)

@attack('A9', 'to the service\'s port at whom it serves', arrives('friend'))
def _(e, f):
    for proto in (UDP(sport=4000, dport=6000) / TOKEN, TCP(sport=4000, dport=6000, flags='S') / TOKEN, echo(f) / TOKEN, SCTP(sport=6000, dport=6000) / SCTPChunkInit() / Raw(TOKEN)):
        to(e, f, e.friend, proto)

@attack('A9', 'nping to whom it serves, from its own port', arrives('friend'), (4,))
def _(e, f):
    shell(f'nping --udp -c 2 --delay 20ms -g 6000 -p 7778 --data-string {TOKEN.decode()} {e.friend[4]} 2>&1')

@attack('A8', 'a data channel that a control channel announced', arrives('friend'))
def _(e, f):
    # As an FTP server that was asked for a passive transfer, and as a SIP proxy: no helper may open a port.
    a, b = divmod(7778, 256)
    said = f'227 Entering Passive Mode ({e.friend[4].replace(".", ",")},{a},{b})\r\n' if f == 4 else '229 Entering Extended Passive Mode (|||7778|)\r\n'
    for proto in (TCP(sport=6000, dport=7777, flags='PA', seq=1, ack=1) / Raw(said),
                  UDP(sport=6000, dport=5060) / Raw(f'INVITE sip:a@{e.friend[f]} SIP/2.0\r\nm=audio 7778 RTP/AVP 0\r\n'),
                  TCP(sport=20, dport=7778, flags='S') / TOKEN, UDP(sport=20, dport=7778) / TOKEN):
        to(e, f, e.friend, proto)

def error(e, f, quoted, kind):
    if f == 4:
        t, c = {'too big': (3, 4), 'unreachable': (3, 1), 'no port': (3, 3), 'expired': (11, 0)}[kind]
        return ICMP(type=t, code=c, nexthopmtu=600 if kind == 'too big' else 0) / quoted
    body = {'too big': ICMPv6PacketTooBig(mtu=1280), 'unreachable': ICMPv6DestUnreach(code=0), 'no port': ICMPv6DestUnreach(code=4),
            'expired': ICMPv6TimeExceeded()}[kind]
    return body / quoted

for kind in ('too big', 'unreachable', 'no port', 'expired'):
    @attack('A8', f'error `{kind}` that quotes a flow of the victim\'s')
    def _(e, f, kind=kind):
        quoted = ip(f, e.victim[f], e.friend[f]) / UDP(sport=4000, dport=5000) / TOKEN
        to(e, f, e.victim, error(e, f, quoted, kind))
        for src in (e.gate[f], e.friend[f]):
            for dmac in (e.gate['mac'], e.victim['mac']):
                send(Ether(src=e.me['mac'], dst=dmac) / ip(f, src, e.victim[f]) / error(e, f, quoted, kind))

@attack('A8', 'a smaller path for the victim', changes('victim', 'ip route get {lan{f}} | grep -o "mtu [0-9]*"'))
def _(e, f):
    quoted = ip(f, e.victim[f], e.lan[f]) / UDP(sport=4000, dport=9) / Raw(b'x' * 64)
    for src in (e.gate[f], e.me[f]):
        for dmac in (e.victim['mac'], e.gate['mac']):
            send(Ether(src=e.me['mac'], dst=dmac) / ip(f, src, e.victim[f]) / error(e, f, quoted, 'too big'))

@attack('A8', 'an error in the middle of a linked flow, about another', arrives('friend'))
def _(e, f):
    # friend -> me is linked; the error is about friend -> victim.
    quoted = ip(f, e.friend[f], e.victim[f]) / UDP(sport=5000, dport=4000) / TOKEN
    for src in (e.me[f], e.victim[f], e.gate[f]):
        for dmac in (e.gate['mac'], e.friend['mac']):
            send(Ether(src=e.me['mac'], dst=dmac) / ip(f, src, e.friend[f]) / error(e, f, quoted, 'unreachable'))

@attack('A8', 'an error to the world about another\'s flow', arrives('lan'))
def _(e, f):
    # friend:5001 -> lan:9000 is open; who serves there must not be told lies about it.
    quoted = ip(f, e.lan[f], e.friend[f]) / UDP(sport=9000, dport=5001) / TOKEN
    for kind in ('too big', 'unreachable', 'no port'):
        send(Ether(src=e.me['mac'], dst=e.gate['mac']) / ip(f, e.me[f], e.lan[f]) / error(e, f, quoted, kind))
