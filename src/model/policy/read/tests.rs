use super::super::{Action, Direction, Engine, PortNumbers, Standing, Tier};
use super::{Manifests, Source, is_manifest, read};
use crate::model::{Family, Proto};

fn manifests(text: &str) -> Manifests {
    let source = Source {
        name: "a.yaml".into(),
        text: text.to_owned(),
    };
    read(&[source]).unwrap()
}

fn wrong(text: &str) -> String {
    let source = Source {
        name: "a.yaml".into(),
        text: text.to_owned(),
    };
    read(&[source]).unwrap_err().to_string()
}

fn names(read: &Manifests) -> Vec<String> {
    read.cluster.pods.iter().map(ToString::to_string).collect()
}

fn policy(spec: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n")
}

#[test]
fn directions_follow_types_and_rules() {
    // Spec; whether it is about egress and ingress.
    for (spec, egress, ingress) in [
        ("{podSelector: {}}", false, true),
        ("{}", false, true),
        ("", false, true),
        ("{egress: []}", false, true),
        ("{egress: null}", false, true),
        ("{egress: [{}]}", true, true),
        ("{policyTypes: []}", false, true),
        ("{policyTypes: [], egress: [{}]}", true, true),
        ("{policyTypes: [Egress]}", true, false),
        ("{policyTypes: [Egress], ingress: [{}]}", true, false),
        ("{policyTypes: [Ingress, Egress]}", true, true),
    ] {
        let read = manifests(&policy(spec));
        let one = &read.policies[0];
        assert_eq!(
            (one.egress.is_some(), one.ingress.is_some()),
            (egress, ingress),
            "{spec}"
        );
        assert_eq!(one.namespace.as_deref(), Some("default"));
    }
}

#[test]
fn empty_lists_are_no_lists_and_a_port_without_all_is_tcp() {
    let read = manifests(&policy(
        "{ingress: [{from: [], ports: []}, {ports: [{}, {protocol: SCTP}, {port: web}]}]}",
    ));
    let rules = read.policies[0].rules(Direction::Ingress).unwrap();
    assert!(rules[0].peers.is_none() && rules[0].ports.is_none());
    let ports = rules[1].ports.as_ref().unwrap();
    assert_eq!(
        (ports[0].proto, &ports[0].ports),
        (Some(Proto::Tcp), &PortNumbers::Every)
    );
    assert_eq!(ports[1].proto, Some(Proto::Sctp));
    assert_eq!(ports[2].ports, PortNumbers::Named("web".into()));
    assert_eq!((rules[1].number, rules[1].pos.line), (2, 4));
}

#[test]
fn what_kubectl_prints_is_read() {
    let read = manifests(
        "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n\
         - {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {whatever: 1}}\n\
         - apiVersion: v1\n  kind: Pod\n  metadata:\n    name: w-1\n    namespace: n\n    uid: x\n    managedFields: [{manager: k}]\n    ownerReferences: [{kind: ReplicaSet, name: w-abc, uid: y}]\n  spec: {nodeName: m, containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}\n  status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}\n\
         - {apiVersion: v1, kind: Pod, metadata: {name: done, namespace: n}, spec: {}, status: {phase: Succeeded, podIP: 10.0.0.1}}\n\
         - {apiVersion: v1, kind: Pod, metadata: {name: host, namespace: n}, spec: {hostNetwork: true}, status: {podIP: 10.0.0.9}}\n\
         - {apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: w-abc, namespace: n, ownerReferences: [{kind: Deployment, name: w}]}, spec: {replicas: 1, template: {spec: {}}}}\n\
         - {apiVersion: apps/v1, kind: Deployment, metadata: {name: w, namespace: n}, spec: {template: {spec: {}}}}\n",
    );
    // The pod stands for its ReplicaSet and Deployment.
    assert_eq!(names(&read), ["n/host", "n/w-1"]);
    assert_eq!(read.others["Service"], 1);
    let pod = &read.cluster.pods[1];
    assert_eq!(pod.address(Family::Ip6).unwrap().to_string(), "fd00::1");
    assert_eq!(read.cluster.pods[0].standing, Standing::HostNetwork);
    assert!(read.cluster.pods[0].ip6.is_none());
    let typed = "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}, spec: {}}]\n";
    assert_eq!(names(&manifests(typed)), ["default/a"]);
}

#[test]
fn workloads_are_pods() {
    let of = |kind: &str, version: &str, spec: &str| {
        format!(
            "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {}}}\nspec: {spec}\n",
            kind.to_lowercase()
        )
    };
    let template = "template: {metadata: {labels: {a: b}}, spec: {initContainers: [{restartPolicy: Always, ports: [{containerPort: 9}]}, {ports: [{containerPort: 8}]}]}}";
    let text = of("Deployment", "apps/v1", &format!("{{replicas: 5, {template}}}"))
        + &of("StatefulSet", "apps/v1", &format!("{{replicas: 0, {template}}}"))
        + &of("DaemonSet", "apps/v1", &format!("{{{template}}}"))
        + &of("ReplicationController", "v1", &format!("{{{template}}}"))
        + &of("Job", "batch/v1", &format!("{{{template}}}"))
        + &of(
            "CronJob",
            "batch/v1",
            &format!("{{jobTemplate: {{spec: {{{template}}}}}}}"),
        );
    let read = manifests(&text);
    let wanted = [
        "cronjob",
        "daemonset",
        "deployment",
        "deployment-2",
        "job",
        "replicationcontroller",
    ];
    assert_eq!(names(&read), wanted.map(|n| format!("default/{n}")));
    for pod in &read.cluster.pods {
        assert_eq!(pod.services(), [(9, Proto::Tcp)]);
        assert_eq!(pod.labels["a"], "b");
        assert!(pod.ip4.is_some() && pod.ip6.is_some());
    }
}

#[test]
fn admin_tiers_are_read() {
    let read = manifests(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec:\n  priority: 7\n  subject: {namespaces: {}}\n  egress:\n  - {action: Pass, to: [{networks: [10.0.0.0/8, 'fd00::/8']}, {nodes: {}}], ports: [{portRange: {start: 1, end: 9}}]}\n",
    );
    let one = &read.policies[0];
    assert_eq!(one.tier, Tier::Admin(7));
    assert!(one.ingress.is_none());
    let rule = &one.egress.as_ref().unwrap()[0];
    assert_eq!(rule.action, Action::Pass);
    assert_eq!(rule.peers.as_ref().unwrap().len(), 3);
    let refused = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: BaselineAdminNetworkPolicy\nmetadata: {name: other}\nspec: {subject: {namespaces: {}}}\n";
    assert_eq!(manifests(refused).refused.len(), 1);
    let pass = refused.replace("other", "default").replace(
        "{}}}",
        "{}}, ingress: [{action: Pass, from: [{namespaces: {}}]}]}",
    );
    assert!(
        wrong(&pass).contains("is Allow or Deny, not: `Pass`"),
        "{}",
        wrong(&pass)
    );
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, wanted) in [
        (
            policy("{ingres: []}"),
            "a.yaml:4:8: unknown or unsupported key `ingres`",
        ),
        (
            policy("{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0}}]}]}"),
            "a.yaml:4:43: cidr is ADDRESS/LENGTH",
        ),
        (
            policy("{ingress: [{ports: [{protocol: tcp}]}]}"),
            "protocol is TCP, UDP or SCTP, not: `tcp`",
        ),
        (
            policy("{ingress: [{ports: [{endPort: 9}]}]}"),
            "endPort stands without a port",
        ),
        (
            policy("{podSelector: {matchExpressions: [{key: a, operator: In}]}}"),
            "`In` needs at least one value",
        ),
        (
            policy("{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}"),
            "takes no values",
        ),
        (
            policy("{podSelector: {a: b}}"),
            "unknown or unsupported key `a` of podSelector",
        ),
        (policy("{}").replace("name: p", "nam: p"), "needs the key `name`"),
        (
            policy("{}").replace("networking.k8s.io/v1", "extensions/v1beta1"),
            "is not supported",
        ),
        ("a: b\n".into(), "a.yaml:1:1: a manifest needs the key `kind`"),
        (
            "just text\n".into(),
            "a manifest is a mapping, not a single value",
        ),
        (
            "apiVersion: moat.dev/v1\nkind: Reach\n".into(),
            "a.yaml:1:13: Reach of `moat.dev/v1` is nothing",
        ),
    ] {
        assert!(
            wrong(&text).contains(wanted),
            "{wanted}\nis not: {}",
            wrong(&text)
        );
    }
    let twice = policy("{}") + "---\n" + &policy("{}");
    assert_eq!(manifests(&twice).refused[0].fault.pos.line, 8);
    assert!(!is_manifest("[1, 2]") && !is_manifest("{\"a\": 1}") && is_manifest(&policy("{}")));
}

#[test]
fn a_name_of_a_port_is_each_pods_own() {
    let pod = |name: &str, port: u16| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{ports: [{{containerPort: {port}, name: web}}, {{containerPort: 99}}]}}]}}\n"
        )
    };
    let text = policy("{ingress: [{ports: [{port: web}]}]}") + &pod("a", 80) + &pod("b", 81);
    let read = manifests(&text);
    let engine = Engine::new(read.cluster, read.policies);
    let [a, b] = ["default/a", "default/b"].map(|n| engine.cluster.find(n).unwrap());
    let may = |from, to, port| engine.decide(from, to, port, Proto::Tcp, Family::Ip4).allowed;
    assert!(may(a, b, 81) && !may(a, b, 80) && may(b, a, 80) && !may(b, a, 81) && !may(a, b, 99));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(spec in "[a-zA-Z:{}\\[\\], 0-9/.*&!-]{0,80}") {
        let text = policy(&spec);
        let _ = read(&[Source { name: "a".into(), text }]);
    }
}
