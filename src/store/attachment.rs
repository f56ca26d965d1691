//! What CNI plugins made.

use super::{Error, Store};

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Undone when its owner is dead.
    Adding,
    Added,
    /// Finished when its owner is dead.
    Removing,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Adding => "adding",
            Self::Added => "added",
            Self::Removing => "removing",
        }
    }

    fn read(s: &str) -> Option<Self> {
        [Self::Adding, Self::Added, Self::Removing]
            .into_iter()
            .find(|p| p.as_str() == s)
    }
}

/// What tells one attachment from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentKey {
    /// The plugin's type.
    pub plugin: String,
    pub network: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// What one plugin made for one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub key: AttachmentKey,
    pub stage: Stage,
    /// The command that adds or removes it: process and start time.
    pub owner: (i32, u64),
    pub netns: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// `CNI_PATH` of the runtime that asked for it.
    pub caller: String,
    /// What was made, as JSON in the plugin's own form.
    pub record: String,
}

const COLUMNS: &str =
    "plugin, network, container, ifname, phase, owner_pid, owner_started, netns, created, caller, record";

impl Store {
    /// Records an attachment, or changes its record.
    ///
    /// # Errors
    /// A database error.
    pub fn put_attachment(&self, a: &Attachment) -> Result<(), Error> {
        self.run(
            &format!(
                "INSERT OR REPLACE INTO attachments ({COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
            ),
            (
                &a.key.plugin,
                &a.key.network,
                &a.key.container,
                &a.key.ifname,
                a.stage.as_str(),
                a.owner.0,
                a.owner.1 as i64,
                &a.netns,
                a.created as i64,
                &a.caller,
                &a.record,
            ),
        )
        .map(drop)
    }

    /// One attachment.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn attachment(&self, key: &AttachmentKey) -> Result<Option<Attachment>, Error> {
        let of = "plugin=?1 AND network=?2 AND container=?3 AND ifname=?4";
        let words = [&key.plugin, &key.network, &key.container, &key.ifname];
        Ok(self.select_attachments(of, words)?.pop())
    }

    /// The attachments of a plugin's network; of all networks when `network` is `None`, of all
    /// plugins when `plugin` is.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn attachments(&self, plugin: Option<&str>, network: Option<&str>) -> Result<Vec<Attachment>, Error> {
        let of = "ifnull(?1, plugin)=plugin AND ifnull(?2, network)=network ORDER BY created, container";
        self.select_attachments(of, (plugin, network))
    }

    /// The attachments that are being added or removed.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn unfinished_attachments(&self) -> Result<Vec<Attachment>, Error> {
        self.select_attachments("phase<>'added'", [])
    }

    /// The attachments of a plugin to one container's interfaces on a network.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn attachments_of(
        &self,
        plugin: &str,
        network: &str,
        container: &str,
    ) -> Result<Vec<Attachment>, Error> {
        let of = "plugin=?1 AND network=?2 AND container=?3";
        self.select_attachments(of, [plugin, network, container])
    }

    /// Forgets an attachment. Whether it was there.
    ///
    /// # Errors
    /// A database error.
    pub fn remove_attachment(&self, key: &AttachmentKey) -> Result<bool, Error> {
        let sql = "DELETE FROM attachments WHERE plugin=?1 AND network=?2 AND container=?3 AND ifname=?4";
        let n = self.run(sql, [&key.plugin, &key.network, &key.container, &key.ifname])?;
        Ok(n > 0)
    }

    fn select_attachments(&self, of: &str, words: impl rusqlite::Params) -> Result<Vec<Attachment>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM attachments WHERE {of}");
        let read = |r: &rusqlite::Row<'_>| {
            let key = AttachmentKey {
                plugin: r.get(0)?,
                network: r.get(1)?,
                container: r.get(2)?,
                ifname: r.get(3)?,
            };
            let stage: String = r.get(4)?;
            let (pid, started): (i32, i64) = (r.get(5)?, r.get(6)?);
            let rest: (Option<String>, i64, String, String) = (r.get(7)?, r.get(8)?, r.get(9)?, r.get(10)?);
            Ok((key, stage, (pid, started as u64), rest))
        };
        let rows = self.rows(&sql, words, read)?;
        rows.into_iter()
            .map(|(key, stage, owner, (netns, created, caller, record))| {
                let bad = || self.record(format!("phase `{stage}` of attachment `{}`", key.container));
                Ok(Attachment {
                    stage: Stage::read(&stage).ok_or_else(bad)?,
                    key,
                    owner,
                    netns,
                    created: created as u64,
                    caller,
                    record,
                })
            })
            .collect()
    }
}
