//! The keys and capabilities that each plugin type reads.
//!
//! Those of the reference plugins as of containernetworking/plugins 1.9.

/// What a plugin type reads of its configuration.
pub struct Type {
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub capabilities: &'static [&'static str],
    /// The oldest version it speaks.
    pub since: &'static str,
    /// It changes what an earlier plugin of the list has made.
    pub chained: bool,
}

/// What the library or the runtime puts in, whatever the type.
pub const ANY: &[&str] = &[
    "type",
    "cniVersion",
    "name",
    "capabilities",
    "args",
    "runtimeConfig",
    "prevResult",
    "dns",
    "ipam",
];

/// What a list has beside its plugins. The rest belongs to the callers.
pub const LIST: &[&str] = &[
    "cniVersion",
    "cniVersions",
    "name",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "plugins",
    "args",
    "nerdctlID",
    "nerdctlLabels",
];

pub const TYPES: &[Type] = &[
    Type {
        name: "moat",
        keys: &[
            "bridge",
            "subnets",
            "gateway",
            "mtu",
            "ipMasq",
            "internal",
            "defaultPolicy",
            "links",
            "router",
            "mode",
            "gc",
        ],
        capabilities: &[
            "portMappings",
            "ips",
            "mac",
            "ipRanges",
            "bandwidth",
            "dns",
            "aliases",
            "cgroupPath",
            "io.kubernetes.cri.pod-annotations",
        ],
        since: "0.1.0",
        chained: false,
    },
    Type {
        name: "bridge",
        keys: &[
            "bridge",
            "isGateway",
            "isDefaultGateway",
            "forceAddress",
            "ipMasq",
            "ipMasqBackend",
            "mtu",
            "hairpinMode",
            "promiscMode",
            "vlan",
            "vlanTrunk",
            "preserveDefaultVlan",
            "macspoofchk",
            "enabledad",
            "disableContainerInterface",
            "portIsolation",
            "moat",
        ],
        // `ips` and `ipRanges` are read by the address management that it starts.
        capabilities: &["mac", "ips", "ipRanges"],
        since: "0.1.0",
        chained: false,
    },
    Type {
        name: "portmap",
        keys: &[
            "snat",
            "backend",
            "conditionsV4",
            "conditionsV6",
            "masqAll",
            "markMasqBit",
            "externalSetMarkChain",
        ],
        capabilities: &["portMappings"],
        since: "0.1.0",
        chained: true,
    },
    Type {
        name: "firewall",
        keys: &[
            "backend",
            "iptablesAdminChainName",
            "firewalldZone",
            "ingressPolicy",
        ],
        capabilities: &[],
        since: "0.4.0",
        chained: true,
    },
    Type {
        name: "bandwidth",
        keys: &["ingressRate", "ingressBurst", "egressRate", "egressBurst"],
        capabilities: &["bandwidth"],
        since: "0.3.0",
        chained: true,
    },
    Type {
        name: "tuning",
        keys: &["sysctl", "mac", "mtu", "promisc", "allmulti", "txQLen", "dataDir"],
        capabilities: &["mac"],
        since: "0.1.0",
        chained: true,
    },
    Type {
        name: "loopback",
        keys: &[],
        capabilities: &[],
        since: "0.1.0",
        chained: false,
    },
];

/// The keys of `ipam`, by its type. moat's own address management takes those of `host-local`.
pub const IPAM: &[(&str, &[&str])] = &[
    ("host-local", HOST_LOCAL),
    ("moat", HOST_LOCAL),
    ("", HOST_LOCAL),
    ("static", &["type", "addresses", "routes", "dns"]),
];

const HOST_LOCAL: &[&str] = &[
    "type",
    "subnet",
    "rangeStart",
    "rangeEnd",
    "gateway",
    "ranges",
    "routes",
    "dataDir",
    "resolvConf",
];

/// Values that are one of a few words, by type and key.
pub const WORDS: &[(&str, &str, &[&str])] = &[
    ("moat", "defaultPolicy", &["isolated", "open", "kubernetes"]),
    ("moat", "mode", &["policy"]),
    ("moat", "router", &["own", "host"]),
    ("moat", "gc", &["own", "all", "dead"]),
    ("firewall", "ingressPolicy", &["open", "same-bridge", "isolated"]),
];
