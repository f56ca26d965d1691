-- One database a world, on the state root. A row is written before the kernel is touched.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- What a command is about to do. A row whose process is dead is work to finish or undo.
CREATE TABLE intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL, started INTEGER NOT NULL, what TEXT NOT NULL);
CREATE TABLE networks (
    name TEXT PRIMARY KEY, json TEXT NOT NULL,
    -- 0: the default network, which is there while somebody uses it
    kept INTEGER NOT NULL,
    -- the offset at which the search for a free address goes on
    cursor4 INTEGER NOT NULL DEFAULT 1, cursor6 INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE TABLE bridges (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL REFERENCES networks(name), ports INTEGER NOT NULL DEFAULT 0,
    -- of a bridge that another plugin made, or of a port without one; there while it has ports
    name TEXT,
    -- it and its network's ranges are known to be in the kernel
    up INTEGER NOT NULL DEFAULT 0);
CREATE INDEX bridges_network ON bridges(network);
CREATE TABLE containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    -- creating, running, exited, removing
    phase TEXT NOT NULL,
    -- the command that is creating or removing it
    owner_pid INTEGER NOT NULL, owner_started INTEGER NOT NULL,
    pid INTEGER, started INTEGER, exit_code INTEGER, finished INTEGER,
    created INTEGER NOT NULL, auto_remove INTEGER NOT NULL,
    labels TEXT NOT NULL, spec TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX containers_running ON containers(created) WHERE phase='running' AND pid IS NOT NULL;
CREATE TABLE endpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    container TEXT NOT NULL UNIQUE, network TEXT NOT NULL REFERENCES networks(name),
    ip4 TEXT, ip6 TEXT, mac TEXT NOT NULL, bridge INTEGER NOT NULL REFERENCES bridges(n),
    labels TEXT NOT NULL, sandbox TEXT,
    -- the host's end of the interface, where another plugin made it
    port TEXT,
    -- which namespace was there, of those that may have that path one after the other
    cookie TEXT,
    -- the interface's name inside; names that others call it by, and further routes, as JSON
    iface TEXT NOT NULL DEFAULT 'eth0',
    aliases TEXT NOT NULL DEFAULT '[]', routes TEXT NOT NULL DEFAULT '[]',
    -- another interface of the namespace has the default routes
    further INTEGER NOT NULL DEFAULT 0,
    -- network policies speak of it: what they need for it is in the kernel, or on its way there or back
    governed INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX endpoints_ip4 ON endpoints(ip4);
CREATE UNIQUE INDEX endpoints_ip6 ON endpoints(ip6);
CREATE UNIQUE INDEX endpoints_mac ON endpoints(network, mac);
CREATE INDEX endpoints_bridge ON endpoints(bridge);
CREATE TABLE labels (
    key TEXT NOT NULL, value TEXT NOT NULL, container TEXT NOT NULL,
    PRIMARY KEY (key, value, container)) WITHOUT ROWID;
CREATE INDEX labels_container ON labels(container);
-- What a container that came through CNI is called beside its name.
CREATE TABLE aliases (
    alias TEXT NOT NULL, container TEXT NOT NULL,
    -- the runtime's own id: its first letters are enough
    is_id INTEGER NOT NULL,
    PRIMARY KEY (alias, container)) WITHOUT ROWID;
CREATE INDEX aliases_container ON aliases(container);
CREATE TABLE links (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    from_end TEXT NOT NULL, to_end TEXT NOT NULL,
    -- as it is written: `any`, `tcp`, `5432/tcp`; seconds since the boot
    service TEXT NOT NULL, expires INTEGER,
    -- the network whose configuration asks for it; it goes with that
    network TEXT,
    UNIQUE (from_end, to_end, service));
CREATE INDEX links_to ON links(to_end);
CREATE INDEX links_expires ON links(expires) WHERE expires IS NOT NULL;
CREATE TABLE published (
    container TEXT NOT NULL, host_ip TEXT, host_port INTEGER NOT NULL,
    port INTEGER NOT NULL, proto TEXT NOT NULL);
CREATE UNIQUE INDEX published_host ON published(proto, host_port, ifnull(host_ip, ''));
CREATE INDEX published_container ON published(container);
-- What a CNI plugin made for one interface of one container, so that it can be taken away
-- without its configuration and without the namespace. Written before the kernel is touched.
CREATE TABLE attachments (
    -- the plugin's type: moat, bridge, portmap, ...
    plugin TEXT NOT NULL, network TEXT NOT NULL, container TEXT NOT NULL, ifname TEXT NOT NULL,
    -- adding, added, removing; the first and last are work for the next command when the owner is dead
    phase TEXT NOT NULL, owner_pid INTEGER NOT NULL, owner_started INTEGER NOT NULL,
    netns TEXT, created INTEGER NOT NULL,
    -- which runtime asked for it, as far as its CNI_PATH tells
    caller TEXT NOT NULL DEFAULT '',
    -- what was made, as JSON: the plugin's own form
    record TEXT NOT NULL,
    PRIMARY KEY (plugin, network, container, ifname)) WITHOUT ROWID;
-- The set elements that attachments want; several may want an equal one.
CREATE TABLE elements (
    -- set and key of the element; plugin/network/container/ifname; the element as JSON
    key TEXT NOT NULL, owner TEXT NOT NULL, json TEXT NOT NULL,
    PRIMARY KEY (key, owner)) WITHOUT ROWID;
CREATE INDEX elements_owner ON elements(owner);
-- What changed, until the audit log has it.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,
    -- who made it, as JSON
    who TEXT NOT NULL,
    -- link, port, network or element; which one; it before and after: absent where there was none
    what TEXT NOT NULL, object TEXT NOT NULL, before TEXT, after TEXT);
