//! DEL: from the records alone, whatever became of namespace and configuration.

use super::{Id, read};
use crate::ops::context::{Moat, Where};
use crate::ops::error::Result;
use crate::ops::{fault, remove};

/// Takes an interface away. What a delegate needs to give its addresses back, if one has to
/// be told; then [`forget`] is called after that. Missing things are what is wanted.
///
/// # Errors
/// What would not go; its record stays, so that the next call goes on.
pub fn detach(place: &Where, id: &Id) -> Result<Option<String>> {
    let wanted = format!("detach {}", id.words());
    let take = || -> Result<Option<String>> {
        let mut moat = super::open(place)?;
        if let Some(c) = id.container(&moat.store)? {
            remove::remove(&mut moat, &c, true)?;
        }
        fault::step("tidying up")?;
        remove::sweep_some(&mut moat)?;
        let left = moat.store.attachment(&id.key())?;
        let delegate = left.as_ref().and_then(|a| read(a).delegate);
        if left.is_some() && delegate.is_none() {
            moat.store.remove_attachment(&id.key())?;
        }
        Ok(delegate)
    };
    take().map_err(|e| e.while_doing(wanted))
}

/// Forgets an interface whose addresses were given back.
///
/// # Errors
/// When the store cannot be written.
pub fn forget(place: &Where, id: &Id) -> Result<()> {
    // No lock: one row, and the kernel is still busy with the interface that went.
    let moat = Moat::open(place)?;
    moat.store.remove_attachment(&id.key())?;
    Ok(())
}
