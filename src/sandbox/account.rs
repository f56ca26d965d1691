//! Users and groups as the container knows them: its own `/etc/passwd` and `/etc/group`, read as text.
//!
//! Never through the C library, which would load the host's name service modules into this process.

use std::path::Path;

use super::error::{Error, Result};
use super::root::Tree;

/// Who the payload runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// The two files, as text; empty where the container has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub passwd: String,
    pub group: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Files {
    /// Of the root this process sees. Never blocks on a pipe somebody put there.
    pub fn of_this_root() -> Result<Self> {
        let tree = Tree::open(Path::new("/")).map_err(|source| Error::path("opening", "/", source))?;
        Ok(Self::of(&tree))
    }

    pub fn of(tree: &Tree) -> Self {
        Self {
            passwd: tree.text(Path::new("/etc/passwd")),
            group: tree.text(Path::new("/etc/group")),
        }
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            Some(User {
                name: fields.first()?,
                uid,
                gid,
                home: fields.get(5)?,
            })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            Some(Group {
                name,
                gid,
                members: fields.next().unwrap_or(""),
            })
        })
    }

    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.users()
            .find(|entry| entry.uid == uid)
            .map(|entry| entry.name)
    }

    pub fn uid_of(&self, user: &str) -> Option<u32> {
        user.parse().ok().or_else(|| {
            self.users()
                .find(|entry| entry.name == user)
                .map(|entry| entry.uid)
        })
    }

    pub fn gid_of(&self, group: &str) -> Option<u32> {
        group.parse().ok().or_else(|| {
            self.groups()
                .find(|entry| entry.name == group)
                .map(|entry| entry.gid)
        })
    }

    /// Resolves `USER[:GROUP]`; no user means root.
    pub fn resolve(&self, user: Option<&str>) -> Result<Account> {
        let user = user.unwrap_or("0");
        let (user, group) = user
            .split_once(':')
            .map_or((user, None), |(user, group)| (user, Some(group)));
        let user = if user.is_empty() { "0" } else { user };
        let number: Option<u32> = user.parse().ok();
        let entry = self.users().find(|entry| match number {
            Some(uid) => entry.uid == uid,
            None => entry.name == user,
        });
        let uid = number.or(entry.as_ref().map(|entry| entry.uid));
        // u32::MAX is "unchanged" to setresuid(2): it must never get there.
        let uid = uid.filter(|uid| *uid != u32::MAX);
        let uid = uid.ok_or_else(|| Error::UnknownUser {
            user: user.to_owned(),
        })?;
        let gid = match group.filter(|group| !group.is_empty()) {
            Some(group) => {
                self.gid_of(group)
                    .filter(|gid| *gid != u32::MAX)
                    .ok_or_else(|| Error::UnknownGroup {
                        group: group.to_owned(),
                    })?
            }
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        let name = entry.as_ref().map(|entry| entry.name);
        let groups = match (name, group) {
            (Some(name), None) => self.supplementary(name, gid),
            // A group that was named is the only one, as in docker and podman.
            _ => vec![gid],
        };
        let home = entry.map(|entry| entry.home).filter(|home| home.starts_with('/'));
        Ok(Account {
            uid,
            gid,
            groups,
            home: home.unwrap_or("/").to_owned(),
        })
    }

    fn supplementary(&self, name: &str, gid: u32) -> Vec<u32> {
        let member = |group: &Group<'_>| group.members.split(',').any(|member| member.trim() == name);
        let mut groups: Vec<u32> = self.groups().filter(member).map(|group| group.gid).collect();
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\npg:x:105:109::/var/lib/pg:/bin/sh\n".into(),
            group: "root:x:0:\nssl:x:103:pg,www\nadm:x:4: pg \npg:x:109:\n".into(),
        }
    }

    #[test]
    fn users_resolve_by_name_and_number() {
        let pg = Account {
            uid: 105,
            gid: 109,
            groups: vec![4, 103, 109],
            home: "/var/lib/pg".into(),
        };
        assert_eq!(files().resolve(Some("pg")).expect("known"), pg);
        assert_eq!(files().resolve(Some("105")).expect("known"), pg);
        let root = files().resolve(None).expect("root");
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        let named = files().resolve(Some("pg:ssl")).expect("known");
        assert_eq!((named.gid, named.groups), (103, vec![103]));
        let number = files().resolve(Some("4242:77")).expect("numbers need no entry");
        assert_eq!((number.uid, number.gid, number.home.as_str()), (4242, 77, "/"));
    }

    #[test]
    fn unknown_and_dangerous_names_are_refused() {
        for user in [
            "nobody-here",
            "4294967295",
            "-1",
            "4294967296",
            "pg:nope",
            "pg:4294967295",
            "no:0",
        ] {
            assert!(files().resolve(Some(user)).is_err(), "{user}");
        }
    }
}
