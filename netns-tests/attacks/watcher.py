# Sees what arrives in many network namespaces. The argument is JSON: places, each
# {"name", "ns" (a path, or null for this one), "iface" (frames) or "port" (datagrams)}.
# `wait TOKEN NAME...` returns when the token is at all of these; `drain` says what has come since.
import ctypes, json, re, select, socket, sys, time

CLONE_NEWNET, TOKENS = 0x40000000, re.compile(rb'mOaT[0-9a-f]{6}')
libc = ctypes.CDLL(None, use_errno=True)

def opened(place):
    """Sockets in the place's namespace: they stay in it."""
    if place['ns'] is not None:
        with open(place['ns']) as ns:
            if libc.setns(ns.fileno(), CLONE_NEWNET): raise OSError(ctypes.get_errno(), place['ns'])
    if 'iface' in place:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        # A packet socket may be given no less than a flood (SO_RCVBUFFORCE).
        s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
        s.bind((place['iface'], 3))
        yield s
    else:
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.bind(('::', place['port']))
        yield s
        if place.get('tcp'):
            t = socket.socket(socket.AF_INET6)
            t.bind(('::', place['port']))
            t.listen(64)
            yield t

own = open('/proc/self/ns/net')
SOCKETS = {}
for place in json.loads(sys.argv[1]):
    for s in opened(place):
        s.setblocking(False)
        SOCKETS[s] = place['name']
    libc.setns(own.fileno(), CLONE_NEWNET)
seen = {}

def refused(data):
    """The router's own word that a packet may not pass (admin prohibited), which quotes it."""
    return data[12:14] == b'\x08\0' and data[23] == 1 and data[34:36] == b'\3\x0d' or data[12:14] == b'\x86\xdd' and data[20] == 58 and data[54:56] == b'\1\1'

def look():
    """Takes what is there from every socket."""
    for s, name in SOCKETS.items():
        while True:
            try: data, who = s.recvfrom(65536)
            except (BlockingIOError, ConnectionError): break
            except OSError: break  # one that listens for connections
            if s.family == socket.AF_PACKET and who[2] == socket.PACKET_OUTGOING: continue
            at = f'{name}-refused' if s.family == socket.AF_PACKET and refused(data) else name
            for token in set(TOKENS.findall(data)):
                seen.setdefault(token.decode(), {}).setdefault(at, data[:120].hex())

def lost():
    n = 0
    for s in SOCKETS:
        if s.family == socket.AF_PACKET: n += int.from_bytes(s.getsockopt(263, 6, 8)[4:], 'little')
    return n

print('ready', flush=True)
for line in sys.stdin:
    verb, *rest = line.split()
    if verb == 'wait':
        token, places, until = rest[0], set(rest[1:]), time.time() + 5
        while True:
            look()
            missing = places - set(seen.get(token, {}))
            if not missing or time.time() > until: break
            select.select(list(SOCKETS), [], [], 0.05)
        print(json.dumps({'missing': sorted(missing)}), flush=True)
    else:
        look()
        print(json.dumps({'seen': seen, 'lost': lost()}), flush=True)
        seen = {}
