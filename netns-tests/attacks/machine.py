# A14: services of the machine that containers run on.
# The host and the router serve port 7000 (UDP, TCP) on every address; me -> host:7001 is linked.

def every(e, f): return {'the gateway\'s address': e.gate[f], 'its address on the LAN': e.host[f], 'its address towards the containers': e.uplink[f],
                         'an address it got later': e.later[f]}

for what in ('the gateway\'s address', 'its address on the LAN', 'its address towards the containers', 'an address it got later'):
    # The wall does not know a new address before the next command; the host itself is closed to it.
    @attack('A14', f'datagram to {what}', arrives('host'), also=('uplink',) if 'later' in what else ())
    def _(e, f, what=what):
        with socket.socket(socket.AF_INET if f == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as s: s.sendto(TOKEN, (every(e, f)[what], 7000))

    @attack('A14', f'connection to {what}', LEARNS, also=('uplink',) if 'later' in what else ())
    def _(e, f, what=what):
        with socket.socket(socket.AF_INET if f == 4 else socket.AF_INET6) as s:
            s.settimeout(0.3)
            try: s.connect((every(e, f)[what], 7000))
            except OSError: return []
            return ['connected']

@attack('A14', 'datagram to a link-local address, with its scope', arrives('host'), (6,))
def _(e, f):
    for whose in ('fe80::1', link_local(e.gate['mac'])):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s: s.sendto(TOKEN, (whose, 7000, 0, socket.if_nametoindex('eth0')))

@attack('A14', 'datagram to it with a forged source', arrives('host'))
def _(e, f):
    for src in (e.friend[f], e.nobody[f], e.lan[f], link_local(e.me['mac']) if f == 6 else '169.254.9.9'):
        for dst in (e.gate[f], e.host[f]):
            send(Ether(src=e.me['mac'], dst=e.gate['mac']) / ip(f, src, dst) / UDP(sport=4000, dport=7000) / TOKEN)

@attack('A14', 'datagram to it from the port of the linked service', arrives('host'))
def _(e, f):
    for sport in (7001, 7000):
        for dst in (e.gate[f], e.host[f]):
            send(Ether(src=e.me['mac'], dst=e.gate['mac']) / ip(f, e.me[f], dst) / UDP(sport=sport, dport=7000) / TOKEN)

@attack('A14', 'fragments that hide the port of it', arrives('host'))
def _(e, f):
    for dst in (e.gate[f], e.host[f]):
        for p in pieces(e, f, datagram(e, f, dst, 7000), [(0, 8), (8, 208)], 17, dst=dst, ident=91):
            send(Ether(src=e.me['mac'], dst=e.gate['mac']) / p)
