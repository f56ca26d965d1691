# What the stories put on the wire. `wire.py VERB ARG...`; long-running verbs print `ready`.
import os, socket, struct, sys, threading, time

def family(ip): return socket.AF_INET6 if ':' in ip else socket.AF_INET
KIND = {'tcp': socket.SOCK_STREAM, 'udp': socket.SOCK_DGRAM}

def make(proto, ip):
    s = socket.socket(family(ip), KIND[proto])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s

def serve(proto, ip, port):
    """Echoes."""
    s = make(proto, ip)
    s.bind((ip, int(port)))
    if proto == 'udp':
        print('ready')
        while True:
            data, who = s.recvfrom(65535)
            s.sendto(data, who)
    s.listen(64)
    print('ready')
    def one(c):
        try:
            while data := c.recv(65536): c.sendall(data)
        except OSError: pass
    while True:
        threading.Thread(target=one, args=(s.accept()[0],), daemon=True).start()

def call(proto, ip, port, sport='0', wait='0.7'):
    """0 when an echo comes back."""
    s = make(proto, ip)
    s.settimeout(float(wait))
    if sport != '0': s.bind(('', int(sport)))
    try:
        s.connect((ip, int(port)))
        s.send(b'hello')
        print(s.recv(100), s.getpeername(), s.getsockname())
    except OSError as e:
        sys.exit(str(e))

VERBS = {f.__name__: f for f in (serve, call)}
if __name__ == '__main__':
    try: VERBS[sys.argv[1]](*sys.argv[2:])
    except KeyboardInterrupt: pass
