//! Attachments whose command died: taken away, whether it was adding or removing them. The
//! runtime owes a DEL after a failed ADD, which releases what a delegate gave.

use crate::ops::context::Moat;
use crate::ops::error::Result;
use crate::sandbox;
use crate::store::Attachment;

use super::attachment::PLUGINS;
use super::unplug;

impl Moat {
    fn dead_attachments(&self) -> Result<Vec<Attachment>> {
        let mut all = self.store.unfinished_attachments()?;
        all.retain(|a| PLUGINS.contains(&a.key.plugin.as_str()) && !sandbox::is_alive(a.owner.0, a.owner.1));
        Ok(all)
    }

    /// Whether no dead process left work here, and the ruleset is there.
    pub(in crate::ops) fn classic_is_whole(&mut self) -> Result<bool> {
        Ok(self.dead_attachments()?.is_empty() && self.has_classic_ruleset()?)
    }

    /// Takes away what dead processes were adding or removing. Needs the exclusive lock.
    pub(in crate::ops) fn finish_classic(&mut self) -> Result<()> {
        for dead in self.dead_attachments()? {
            if dead.key.plugin == "bridge" {
                unplug::undo(self, &dead.key)?;
            } else {
                self.drop_attachment(&dead.key)?;
            }
        }
        Ok(())
    }
}
