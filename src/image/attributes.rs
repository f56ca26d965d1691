//! Extended attributes of an archive's entries: which are kept, and how many.
//!
//! An archive must not say what overlayfs reads (`trusted.overlay.*`, `user.overlay.*`): it could hide or show
//! files of other layers. What a security module labels by is the host's matter, too.

use std::io::Read;
use std::os::fd::AsFd;

use rustix::io::Errno;
use tar::Entry;

use super::error::{Error, Result};

const PAX: &str = "SCHILY.xattr.";
const MOST: usize = 64;
/// Linux takes no more for one value.
const LONGEST: usize = 64 << 10;

fn is_kept(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Sets those of an entry on the open file.
pub(super) fn set(file: &impl AsFd, entry: &mut Entry<'_, impl Read>, shown: &[u8]) -> Result<()> {
    let Some(extensions) = entry.pax_extensions().map_err(Error::archive)? else {
        return Ok(());
    };
    let mut count = 0;
    for extension in extensions {
        let extension = extension.map_err(Error::archive)?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(PAX)) else {
            continue;
        };
        if !is_kept(name) {
            continue;
        }
        count += 1;
        let value = extension.value_bytes();
        if count > MOST || value.len() > LONGEST || name.len() > 255 || name.contains('\0') {
            return Err(Error::entry(
                shown,
                "has more or longer attributes than a file can have",
            ));
        }
        match rustix::fs::fsetxattr(file, name, value, rustix::fs::XattrFlags::empty()) {
            // Not every file system has them, and not everybody may set them.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(errno) => return Err(Error::write(shown, errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn attributes_of_the_overlay_are_not_kept() {
        for (name, kept) in [
            ("user.mime", true),
            ("security.capability", true),
            ("user.overlay.opaque", false),
            ("trusted.overlay.redirect", false),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
        ] {
            assert_eq!(super::is_kept(name), kept, "{name}");
        }
    }
}
