# A3: addresses of others as source, with our own MAC and with that of whom they belong to.

def forged(e, f):
    privacy = e.me[6].rsplit('::', 1)[0] + '::9c3d:71f2:4e0b:8a16'
    return {'a linked container': e.friend[f], 'the victim itself': e.victim[f], 'the gateway': e.gate[f],
            'the host': e.host[f], 'loopback': '127.0.0.1' if f == 4 else '::1', 'nobody here': e.nobody[f],
            'the world': '8.8.8.8' if f == 4 else '2001:db8::8', 'nothing': '0.0.0.0' if f == 4 else '::',
            'a link-local one': '169.254.7.7' if f == 4 else link_local(e.me['mac']),
            'the router, link-local': '169.254.1.1' if f == 4 else 'fe80::1',
            'a privacy address': e.me[4].rsplit('.', 1)[0] + '.250' if f == 4 else privacy,
            'everybody': '255.255.255.255' if f == 4 else 'ff02::1'}

for whose in ('a linked container', 'the victim itself', 'the gateway', 'the host', 'loopback', 'nobody here', 'the world',
              'nothing', 'a link-local one', 'the router, link-local', 'a privacy address', 'everybody'):
    @attack('A3', f'source {whose}, straight to the victim')
    def _(e, f, whose=whose):
        for proto in kinds(f).values():
            for smac in (e.me['mac'], e.friend['mac'], e.gate['mac']):
                send(Ether(src=smac, dst=e.victim['mac']) / ip(f, forged(e, f)[whose], e.victim[f]) / proto)

# What a plain router takes for a martian cannot show that the wall holds.
for whose in ('a linked container', 'nobody here', 'the world', 'a privacy address'):
    @attack('A3', f'source {whose}, through the gateway')
    def _(e, f, whose=whose):
        for proto in kinds(f).values():
            send(Ether(src=e.me['mac'], dst=e.gate['mac']) / ip(f, forged(e, f)[whose], e.victim[f]) / proto)

for path in ('straight', 'through the gateway'):
    @attack('A3', f'into the flow that a linked container has open, {path}')
    def _(e, f, path=path):
        # The laboratory keeps a flow open: friend:5000 to victim:4000, UDP.
        for smac in (e.me['mac'], e.friend['mac']):
            send(Ether(src=smac, dst=e.victim['mac'] if path == 'straight' else e.gate['mac'])
                 / ip(f, e.friend[f], e.victim[f]) / UDP(sport=5000, dport=4000) / TOKEN)

@attack('A3', 'nping with a forged source', families=(4,))
def _(e, f):
    shell(f'nping --udp -c 2 --delay 20ms -e eth0 -S {e.friend[4]} --source-mac {e.me["mac"]} --dest-mac {e.victim["mac"]} '
          f'-g 4000 -p 4000 --data-string {TOKEN.decode()} {e.victim[4]} 2>&1')
