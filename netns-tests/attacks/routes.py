# A7: routes that root in a container adds. A16: the way out, and where it does not lead.

def with_route(e, f, to, route, neighbour=None, port=4000):
    """A datagram to an address by a route of our own; the routes are as before afterwards."""
    before = shell(f'ip -{f} route show {to}')
    if neighbour: shell(f'ip neigh replace {neighbour[0]} lladdr {neighbour[1]} dev eth0')
    shell(f'ip -{f} route replace {to} {route}')
    try:
        with socket.socket(socket.AF_INET if f == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as s:
            for _ in range(3): s.sendto(TOKEN, (to, port))
    except OSError as why:
        print(why, file=sys.stderr)
    time.sleep(0.02)  # The kernel may have to ask for a neighbour first.
    shell(f'ip -{f} route del {to} {route}')
    if neighbour: shell(f'ip neigh del {neighbour[0]} dev eth0')

# How each route is said, and where what goes by it comes to on a plain bridge.
ROUTES = {'by the gateway': (lambda e, f: f'via {e.hop[f]} dev eth0 onlink', None, 'victim'),
          'as if it were on the link': (lambda e, f: 'dev eth0', None, 'victim'),
          'on the link, with its MAC': (lambda e, f: 'dev eth0', lambda e, f: (e.victim[f], e.victim['mac']), 'victim'),
          'on the link, with the gateway\'s MAC': (lambda e, f: 'dev eth0', lambda e, f: (e.victim[f], e.gate['mac']), 'victim'),
          'by another container': (lambda e, f: f'via {e.friend[f]} dev eth0 onlink', lambda e, f: (e.friend[f], e.friend['mac']), 'friend'),
          'by the host\'s other address': (lambda e, f: f'via {e.host[f]} dev eth0 onlink', lambda e, f: (e.host[f], e.gate['mac']), 'victim')}

for what, (route, neighbour, where) in ROUTES.items():
    @attack('A7', f'to a container {what}', arrives(where))
    def _(e, f, route=route, neighbour=neighbour):
        with_route(e, f, e.victim[f], route(e, f), neighbour and neighbour(e, f))

@attack('A7', 'to the host by another container\'s address', arrives('friend'))
def _(e, f): with_route(e, f, e.host[f], f'via {e.friend[f]} dev eth0 onlink', (e.friend[f], e.friend['mac']), 7000)

@attack('A7', 'to the host by the gateway', arrives('host'))
def _(e, f): with_route(e, f, e.host[f], f'via {e.hop[f]} dev eth0 onlink', port=7000)

for whose in ('a linked container', 'nobody here', 'the world', 'a privacy address', 'a link-local one'):
    # No router, plain or not, carries a link-local source on in IPv6.
    @attack('A16', f'to the world with the source of {whose}', arrives('lan'), (4,) if whose == 'a link-local one' else (4, 6))
    def _(e, f, whose=whose):
        for proto in kinds(f).values():
            for smac in (e.me['mac'], e.friend['mac']):
                send(Ether(src=smac, dst=e.gate['mac']) / ip(f, forged(e, f)[whose], e.lan[f]) / proto)

@attack('A16', 'by the gateway of another network', arrives('victim'))
def _(e, f):
    for smac in (e.me['mac'], e.victim['mac']):
        send(Ether(src=smac, dst=e.gate['mac']) / ip(f, e.nobody[f], e.victim[f]) / kinds(f)['udp'])
