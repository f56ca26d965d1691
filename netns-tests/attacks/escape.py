# Ways from a container to the host that others' runtimes left open. `escape.py SECRET SOCKET KEY
# IFACE`: prints each that is open. What it opens it leaves as it was.
import ctypes, os, signal, socket, stat, struct, sys
SECRET, SOCKET, KEY, IFACE = sys.argv[1:5]
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *args):
    n = libc.syscall(number, *args)
    if n < 0: raise OSError(ctypes.get_errno(), 'refused')
    return n

def writable(path):
    os.close(os.open(path, os.O_WRONLY))
    return True

def leaked():
    """CVE-2016-9962, CVE-2024-21626: a descriptor of the caller's leads to the host's files."""
    return any(os.path.exists(f'/proc/self/fd/{n}/{SECRET}') for n in range(3, 64))

def directory():
    """CVE-2024-21626: a working directory in /proc/self/fd."""
    for n in range(3, 64):
        try: os.chdir(f'/proc/self/fd/{n}')
        except OSError: continue
        if os.path.exists(SECRET.lstrip('/')): return True

def runtime():
    """CVE-2019-5736: the program that made the container, through /proc."""
    return os.access('/proc/1/exe', os.W_OK)

def abstract():
    """CVE-2020-15257: abstract sockets of the host's network namespace."""
    socket.socket(socket.AF_UNIX).connect('\0' + SOCKET)
    return True

def agent():
    """CVE-2022-0492: a cgroup hierarchy with an agent that the host runs."""
    at = '/tmp/escape-cgroup'
    os.makedirs(at, exist_ok=True)
    try:
        for kind in (b'cgroup2', b'cgroup'):
            if libc.mount(b'x', at.encode(), kind, 0, b'' if kind == b'cgroup2' else b'rdma') == 0:
                libc.umount2(at.encode(), 2)
                return True
    finally:
        os.rmdir(at)

def cgroup():
    """Its own cgroup is read-only: no limit is lifted, none is left."""
    for root, _, files in os.walk('/sys/fs/cgroup'):
        for f in files:
            if f in ('cgroup.procs', 'memory.max', 'release_agent', 'tasks', 'pids.max') and os.access(f'{root}/{f}', os.W_OK): return True
        if root.count('/') > 6: break

def key():
    """A key of the caller's session."""
    buffer = ctypes.create_string_buffer(64)
    return call(250, 11, call(250, 10, -3, b'user', KEY.encode(), 0), buffer, 64) > 0

def attribute(size, **at): return ctypes.create_string_buffer(b''.join(struct.pack('I', at.get(f'w{n}', 0)) for n in range(size // 4)), size)

def node():
    """A device node of our own making."""
    path = '/tmp/escape-node'
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.unlink(path)
    return True

def disks():
    return any(stat.S_ISBLK(os.stat(f'/dev/{d}').st_mode) or d in ('mem', 'kmsg', 'port') for d in os.listdir('/dev') if os.path.exists(f'/dev/{d}'))

def namespaces():
    """A user namespace is where most holes of the kernel begin."""
    pid = os.fork()
    if pid == 0: os._exit(0 if libc.unshare(0x10000000) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0

TRIES = {
    'leaked descriptor': leaked, 'working directory': directory, 'the runtime itself': runtime, 'abstract socket': abstract, 'release agent': agent,
    'cgroup files': cgroup, 'key of the caller': key, 'device node': node, 'devices': disks, 'user namespace': namespaces,
    'secret file': lambda: open(SECRET).read(),
    'shadow': lambda: open('/etc/shadow').read(),
    'interfaces of the host': lambda: IFACE in os.listdir('/sys/class/net') or IFACE in open('/proc/net/dev').read(),
    'core pattern': lambda: writable('/proc/sys/kernel/core_pattern'), 'kernel profile': lambda: writable('/sys/kernel/profiling'),
    'kernel log': lambda: call(103, 3, ctypes.create_string_buffer(100), 100) >= 0,
    'bpf': lambda: call(321, 0, attribute(128, w0=2, w1=4, w2=4, w3=1), 128) > 0,
    'perf': lambda: call(298, attribute(128, w0=1, w1=128), 0, -1, -1, 0) > 0,
    'io_uring': lambda: call(425, 4, ctypes.create_string_buffer(256)) > 0,
    'userfaultfd': lambda: call(323, 0) > 0,
    'mount': lambda: libc.mount(b'x', b'/srv', b'tmpfs', 0, None) == 0 and libc.umount2(b'/srv', 2) == 0,
    'open by handle': lambda: call(304, os.open('/', 0), ctypes.create_string_buffer(struct.pack('Ii', 8, 1) + struct.pack('II', 2, 0)), 0) > 0,
    'hostname': lambda: libc.sethostname(*(lambda n: (n, len(n)))(os.uname().nodename.encode())) == 0,
}
if __name__ == '__main__':
    for name, attempt in TRIES.items():
        try:
            if attempt(): print(name, flush=True)
        except (OSError, ValueError): pass
