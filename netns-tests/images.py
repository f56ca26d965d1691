"""Makes images of every kind for the stories, good and hostile: images.py DIR BUSYBOX."""
import gzip, hashlib, io, json, os, sys, tarfile

DIR, BUSYBOX = sys.argv[1], open(sys.argv[2], "rb").read()
LINKS = ["sh", "cat", "ls", "id", "env", "pwd", "echo", "touch", "rm", "mkdir", "ln", "chmod", "chown", "sleep",
         "stat", "mv", "readlink", "test", "true", "dd", "mkfifo"]


def tar(*entries):
    """A tar of (name, kind, value) entries, further keys as the header's fields."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as t:
        for name, kind, value, *more in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mtime, info.mode = kind, 1000000000, 0o755
            data = None
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = value
            elif kind == tarfile.REGTYPE:
                data = value if isinstance(value, bytes) else value.encode()
                info.size = len(data)
            for fields in more:
                for key, field in fields.items():
                    setattr(info, key, field)
            t.addfile(info, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def f(name, text, **more): return (name, tarfile.REGTYPE, text, more)
def d(name, **more): return (name, tarfile.DIRTYPE, None, more)
def s(name, to): return (name, tarfile.SYMTYPE, to)
def h(name, to): return (name, tarfile.LNKTYPE, to)


def sha(data): return hashlib.sha256(data).hexdigest()


def write(name, data):
    path = os.path.join(DIR, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(data)


BASE = tar(
    d("bin"), f("bin/busybox", BUSYBOX), *[s("bin/" + n, "busybox") for n in LINKS],
    d("etc"), f("etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n"),
    f("etc/group", "root:x:0:\nweb:x:33:\n"), f("etc/kept", "base\n"), f("etc/gone", "base\n"),
    f("etc/changed", "base\n"), d("old"), f("old/one", "1\n"), f("old/two", "2\n"),
    d("dir"), f("dir/in", "base\n"), d("srv", uid=33, gid=33), f("srv/mine", "web\n", uid=33, gid=33, mode=0o640),
    d("tmp", mode=0o1777), f("bin/suid", "x\n", mode=0o4755), h("etc/hard", "etc/kept"))
SECOND = tar(
    d("etc"), f("etc/.wh.gone", ""), f("etc/changed", "second\n"),
    d("old"), f("old/.wh..wh..opq", ""), f("old/three", "3\n"),
    f(".wh.dir", ""), d("dir"), f("dir/new", "second\n"))
THIRD = tar(d("etc"), f("etc/third", "third\n"))
OTHER = tar(d("etc"), f("etc/other", "other\n"))


def config(layers, **process):
    return json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
        "created": "2026-01-01T00:00:00Z", "config": process,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(x) for x in layers]}}).encode()


def layout(name, layers, tag, blobs=None, extra=None, **process):
    """An OCI layout; `blobs` are what is stored in place of the layers."""
    stored = blobs or [gzip.compress(x, 1) for x in layers]
    conf = config(layers, **process)

    def blob(data, kind):
        write(f"{name}/blobs/sha256/{sha(data)}", data)
        return {"mediaType": kind, "digest": "sha256:" + sha(data), "size": len(data)}
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(conf, "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(x, "application/vnd.oci.image.layer.v1.tar+gzip") for x in stored]}).encode()
    one = blob(manifest, "application/vnd.oci.image.manifest.v1+json")
    one["annotations"] = {"org.opencontainers.image.ref.name": tag}
    write(f"{name}/oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    write(f"{name}/index.json", json.dumps({"schemaVersion": 2, "manifests": [one]}).encode())
    return stored


def archive(name, layers, repo, **process):
    """What `docker save` writes; the second layer by a link, as older ones do."""
    conf = config(layers, **process)
    entries, names = [], []
    for at, layer in enumerate(layers):
        plain = f"{sha(layer)}.tar"
        entries.append(f(plain, layer))
        names.append(plain)
        if at == 1:
            entries.append(s("linked/layer.tar", "../" + plain))
            names[1] = "linked/layer.tar"
    entries.append(f(sha(conf) + ".json", conf))
    manifest = [{"Config": sha(conf) + ".json", "RepoTags": [repo], "Layers": names}]
    entries.append(f("manifest.json", json.dumps(manifest)))
    write(name, tar(*entries))


PROCESS = dict(Entrypoint=["/bin/sh", "-c"], Cmd=["echo by default: $WHO in $(pwd) as $(id -u)"],
               Env=["PATH=/bin", "WHO=image"], WorkingDir="/srv", User="web")

write("root.tar", BASE)
write("root.tar.gz", gzip.compress(BASE, 1))
layout("oci", [BASE, SECOND, THIRD], "v3", **PROCESS)
layout("many", [BASE] + [tar(d("etc"), f(f"etc/n{n}", f"{n}\n")) for n in range(120)], "x")
archive("saved.tar", [BASE, OTHER], "other/app:1.0", **PROCESS)
write("saved.tar.gz", gzip.compress(open(os.path.join(DIR, "saved.tar"), "rb").read(), 1))

# Hostile ones.
SPARSE = tarfile.TarInfo("huge")
SPARSE.type, SPARSE.size = tarfile.REGTYPE, 10 << 30
bad = {
    "dotdot": tar(f("../../x", "out\n")),
    "absolute": tar(f("/moat-absolute/x", "in\n")),
    "through": tar(s("way", "/"), d("etc"), f("way/etc/through", "in\n"), s("up", "../../../.."), f("up/upward", "in\n")),
    "dangling": tar(s("way", "/nowhere"), f("way/x", "out\n")),
    "hardout": tar(h("passwd", "../../../../etc/passwd")),
    "hardabs": tar(h("passwd", "/etc/passwd")),
    "hardlink": tar(s("way", "/etc"), h("passwd", "way/passwd")),
    "devices": tar(d("dev"), ("dev/sda", tarfile.BLKTYPE, None, dict(devmajor=8)),
                   ("dev/mem", tarfile.CHRTYPE, None, dict(devmajor=1, devminor=1)), f("file", "x\n")),
    "sparse": SPARSE.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024,
    "truncated": BASE[:len(BASE) // 2],
    "text": b"this is no archive\n" * 100,
    "owner": tar(f("x", "y\n", uid=2**32 - 1)),
    "empty": tar(),
}
# A file that is 10 GB of nothing: the old GNU form of sparse files.
block = bytearray(SPARSE.tobuf(tarfile.GNU_FORMAT))
block[156:157] = b"S"
block[124:136] = b"00000001000\0"
block[386:398], block[398:410] = b"%011o\0" % ((10 << 30) - 512), b"%011o\0" % 512
block[483:495] = b"%011o\0" % (10 << 30)
block[148:156] = b" " * 8
block[148:156] = b"%06o\0 " % sum(block[:512])
bad["claim"] = bytes(block[:512]) + b"x" * 512 + b"\0" * 1024
# A name of 1 GB, which a reader that believes headers would keep in memory.
name = tarfile.TarInfo("././@LongLink")
name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
zeros = gzip.compress(b"a" * (1 << 20), 9)
bad["longname"] = gzip.compress(name.tobuf(tarfile.GNU_FORMAT), 1) + zeros * 16
for key, data in bad.items():
    write(f"bad/{key}.tar", data)
write("bad/cut.tar.gz", gzip.compress(BASE, 1)[:-5000])
stored = layout("bad/digest", [BASE, THIRD], "x")
with open(os.path.join(DIR, "bad/digest/blobs/sha256", sha(stored[1])), "r+b") as out:
    out.seek(20)
    out.write(b"!!")
layout("bad/diff", [BASE, THIRD], "x", blobs=[gzip.compress(BASE, 1), gzip.compress(OTHER, 1)])
layout("bad/second", [BASE, bad["dotdot"]], "x")
layout("bad/loop", [BASE, tar(f("etc/.wh..", ""))], "x")
