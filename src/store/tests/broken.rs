//! Rows that no moat wrote: read or refused.

use super::*;
use crate::model::broken::broken;

/// Every text of every row that is read somewhere.
const COLUMNS: [(&str, &str); 17] = [
    ("links", "from_end"),
    ("links", "to_end"),
    ("links", "service"),
    ("links", "expires"),
    ("networks", "name"),
    ("networks", "json"),
    ("containers", "phase"),
    ("containers", "labels"),
    ("containers", "name"),
    ("endpoints", "ip4"),
    ("endpoints", "ip6"),
    ("endpoints", "mac"),
    ("endpoints", "labels"),
    ("endpoints", "aliases"),
    ("endpoints", "routes"),
    ("published", "host_ip"),
    ("published", "proto"),
];

#[test]
fn rows() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("net", &["10.9.0.0/16", "fd00::/64"]);
    store.add_network(&net, true).unwrap();
    for n in ["a", "b"] {
        store.add_container(&container(n, n, &[])).unwrap();
        attach(&store, n, &net).unwrap();
    }
    let end = |n: &str| crate::model::End::Container(name(n));
    let link = crate::model::Link {
        from: end("a"),
        to: end("b"),
        service: "80/tcp".parse().unwrap(),
        expires: None,
    };
    store.add_link(&link).unwrap();
    let seeds: [&[u8]; 9] = [
        b"a",
        b"label:k=v",
        b"80/tcp",
        b"running",
        b"{\"k\":\"v\"}",
        b"[]",
        b"10.9.0.2",
        b"fd00::2",
        b"02:00:00:00:00:01",
    ];
    let mut column = 0;
    let read = |s: &Store| -> Result<(), Error> {
        s.links()?;
        s.networks()?;
        s.containers()?;
        s.running()?;
        s.endpoints()?;
        s.bridges()?;
        s.cookies(None)?;
        s.world(0)?;
        s.around(&[&name("a")], 0)?;
        s.published_of(None)?;
        s.named_by(&end("a"))?;
        s.sides()?;
        Ok(())
    };
    store.db.pragma_update(None, "foreign_keys", false).unwrap();
    broken("rows", &seeds, |bytes| {
        store.begin().unwrap();
        column = (column + 1) % (COLUMNS.len() * 2);
        let (table, field) = COLUMNS[column / 2];
        let sql = format!("UPDATE OR IGNORE {table} SET {field}=?1");
        let text = String::from_utf8_lossy(bytes).into_owned();
        let done = match column % 2 {
            0 => store.db.execute(&sql, [&text]),
            _ => store.db.execute(&sql, [bytes]),
        };
        assert!(done.is_ok() || table == "containers", "{done:?}");
        let outcome = read(&store);
        store.roll_back().unwrap();
        if let Err(e) = &outcome {
            assert!(e.is_broken(), "{table}.{field}: {e}");
        }
        // A seed may not fit its column.
        outcome.is_ok() || seeds.contains(&bytes)
    });
}
