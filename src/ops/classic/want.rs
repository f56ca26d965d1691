//! Recording attachments, and the set elements they want: made with the first that wants
//! them, gone with the last.

use crate::kernel::Kernel as _;
use crate::kernel::linux::PortFlow;
use crate::ops::context::{Moat, now};
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::{Element, Field, Object, Place, Plan, Ruleset, SetName, State, Step};
use crate::store::{Attachment, AttachmentKey as Key, Held, Stage};

fn ruleset() -> Object {
    Object::Ruleset {
        at: Place::Host,
        which: Ruleset::Classic,
    }
}

/// Elements that cannot be read are passed over: nobody can want them.
fn element(json: &str) -> Option<Element> {
    serde_json::from_str(json).ok()
}

fn elements(held: &[Held]) -> State {
    let read = held.iter().filter_map(|h| element(&h.json));
    read.map(Object::Element).collect()
}

impl Moat {
    /// Writes down how far an attachment is, and (unless `None`) which elements it wants.
    pub(super) fn record(
        &mut self,
        key: &Key,
        stage: Stage,
        netns: Option<&str>,
        record: &str,
        wanted: Option<&State>,
    ) -> Result<()> {
        let (owner, own) = (self.me, self.caller.clone());
        self.store.write(|s| {
            let before = s.attachment(key)?;
            let created = before.as_ref().map_or_else(now, |a| a.created);
            // Whoever removes it, it was asked for by another.
            let caller = before
                .filter(|_| stage == Stage::Removing)
                .map_or(own, |a| a.caller);
            s.put_attachment(&Attachment {
                key: key.clone(),
                stage,
                owner,
                netns: netns.map(str::to_owned),
                created,
                caller,
                record: record.to_owned(),
            })?;
            let Some(wanted) = wanted else { return Ok(()) };
            let texts = wanted.iter().filter_map(|o| match o {
                Object::Element(e) => Some((e.identity(), serde_json::to_string(e).ok()?)),
                _ => None,
            });
            s.release(key, None)?;
            Ok(s.hold(key, &texts.collect::<Vec<_>>())?)
        })
    }

    /// Makes elements, with the ruleset when it is not there. Needs the lock.
    pub(super) fn make_wanted(&mut self, wanted: &State) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if !self.has(&ruleset()) {
            self.apply(&Plan(vec![Step::Add(ruleset())]))?;
        }
        self.apply(&Plan::add(wanted))?;
        fault::step("opening loopback")?;
        self.open_localnet(wanted)
    }

    /// Whether an attachment is recorded, and all elements it wants are there.
    pub(super) fn has_wanted(&mut self, key: &Key) -> Result<()> {
        if self.store.attachment(key)?.is_none() {
            return Err(Error::Amiss(format!(
                "`{}` has no record of `{}`",
                key.plugin, key.container
            )));
        }
        let wanted = elements(&self.store.held_by(key, false)?);
        if !wanted.is_empty() && !self.has(&ruleset()) {
            return Err(Error::Amiss(
                "the nftables table is missing or changed".to_owned(),
            ));
        }
        for object in &wanted {
            if !self.kernel.has(object)?
                && let Object::Element(e) = object
            {
                return Err(Error::Amiss(format!(
                    "the nftables element is missing: {}",
                    e.identity()
                )));
            }
        }
        Ok(())
    }

    /// Notes that an attachment is about to go; what is recorded of it. Needs the lock.
    pub(super) fn begin_removal(&mut self, key: &Key) -> Result<Option<Attachment>> {
        let row = self.store.attachment(key)?;
        if let Some(row) = &row {
            self.record(key, Stage::Removing, row.netns.as_deref(), &row.record, None)?;
            fault::step("removing an attachment")?;
        }
        Ok(row)
    }

    /// Takes an attachment away that is nothing but elements. Needs the lock.
    pub(super) fn drop_attachment(&mut self, key: &Key) -> Result<()> {
        self.begin_removal(key)?;
        self.end_removal(key)
    }

    /// Takes away the elements that nobody else wants, and the record. Needs the lock.
    pub(super) fn end_removal(&mut self, key: &Key) -> Result<()> {
        let alone = elements(&self.store.held_by(key, true)?);
        self.close_localnet(&alone)?;
        if !alone.is_empty() && self.has(&ruleset()) {
            self.apply(&Plan::remove(&alone))?;
        }
        fault::step("forgetting flows")?;
        self.forget_ports(&alone)?;
        self.store.release(key, None)?;
        if !self.store.holds_any()? && self.has(&ruleset()) {
            self.apply(&Plan(vec![Step::Del(ruleset())]))?;
        }
        self.store.remove_attachment(key)?;
        Ok(())
    }

    /// What `classic.nft` should hold.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn wanted_classic(&mut self) -> Result<State> {
        let held = self.store.all_held()?;
        let read = held.iter().filter_map(|json| element(json));
        let mut s: State = read.map(Object::Element).collect();
        if !s.is_empty() {
            s.insert(ruleset());
        }
        Ok(s)
    }

    /// Whether the ruleset is there while somebody wants it.
    pub(super) fn has_classic_ruleset(&mut self) -> Result<bool> {
        Ok(!self.store.holds_any()? || self.has(&ruleset()))
    }

    /// Cuts the flows through these port maps.
    fn forget_ports(&mut self, gone: &State) -> Result<()> {
        let flows: Vec<PortFlow> = gone.iter().filter_map(port_flow).collect();
        if !flows.is_empty() {
            self.kernel.forget_port_flows(&flows, None)?;
        }
        Ok(())
    }
}

/// The flows that a port map translates.
pub(super) fn port_flow(object: &Object) -> Option<PortFlow> {
    let Object::Element(e) = object else { return None };
    if !matches!(e.set, SetName::Any(_) | SetName::At(_)) {
        return None;
    }
    let (mut host_ip, mut proto, mut host_port) = (None, None, None);
    for field in &e.key {
        match field {
            Field::Ip(ip) => host_ip = Some(*ip),
            Field::Proto(p) => proto = Some(*p),
            Field::Port(p) => host_port = Some(*p),
            _ => {}
        }
    }
    let Some([Field::Ip(to), Field::Port(port)]) = e.data.as_deref() else {
        return None;
    };
    Some(PortFlow {
        host_ip,
        proto: proto?,
        host_port: host_port?,
        to: (*to, *port),
    })
}
