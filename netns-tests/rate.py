"""Bits a second that TCP brings from one namespace to another.

sink ADDRESS        listens on port 5000, says ready, counts from the second second on, prints
pour ADDRESS TIME   sends for that many seconds
"""
import socket, struct, sys, time

verb, address = sys.argv[1:3]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family)
if verb == "sink":
    s.bind((address, 5000))
    s.listen()
    print("ready")
    c, _ = s.accept()
    first = last = None
    count = 0
    while True:
        try:
            data = c.recv(65536)
        except OSError:
            break
        if not data:
            break
        now = time.monotonic()
        first = first or now
        # The burst is over.
        if now - first > 1:
            begin = begin if last else now
            count += len(data) if last else 0
            last = now
    print(int(count * 8 / (last - begin)))
else:
    s.settimeout(1)
    s.connect((address, 5000))
    end = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < end:
        try:
            s.send(b"x" * 16384)
        except socket.timeout:
            pass
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
