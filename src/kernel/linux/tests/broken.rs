//! Datagrams that no kernel sends: read to where they make sense.

use super::super::element;
use super::super::wire::{Buffer, attributes, find, messages, text};
use crate::model::broken::broken;

#[test]
fn netlink_messages() {
    let mut buffer = Buffer::default();
    let open = buffer.message(0x0a0c, 0, 1, 1, 0);
    buffer.put_text(1, "table");
    let list = buffer.nest(3);
    let one = buffer.nest(1);
    let key = buffer.nest(1);
    buffer.put(1, &[10, 9, 0, 2]);
    buffer.end_nest(&key);
    buffer.put(4, &7_u64.to_be_bytes());
    buffer.end_nest(&one);
    buffer.end_nest(&list);
    buffer.end_message(&open);
    let types = ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service"];
    broken("netlink messages", &[&buffer.bytes], |bytes| {
        let mut seen = 0;
        for m in messages(bytes) {
            let _ = (m.outcome(), m.family());
            for (_, value) in attributes(m.attributes()) {
                let _ = text(value);
                let _ = find(value, 1);
                seen += element::decode(value).count();
                let _ = element::decode_fields(&types, value);
            }
        }
        seen > 0
    });
}
