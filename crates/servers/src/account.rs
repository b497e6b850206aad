//! The unprivileged accounts under which servers run when we are root.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// A user of the system and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The number of its own group.
    pub gid: u32,
}

impl Account {
    /// The account that a server runs as: `None`, the caller's own, unless the caller is root.
    ///
    /// The package's user where it exists, else `nobody`: servers of this kind refuse to run as root.
    pub(crate) fn for_server(user: &str) -> io::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        find(&accounts, user)
            .or_else(|| find(&accounts, "nobody"))
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("there is neither a user {user} nor nobody")))
    }

    /// Whether this account can get to what lies below `dir`: each folder on the way lets it through.
    pub(crate) fn reaches(self, dir: &Path) -> io::Result<bool> {
        for folder in dir.ancestors() {
            let metadata = fs::metadata(folder)?;
            let needed = match (metadata.uid() == self.uid, metadata.gid() == self.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if metadata.permissions().mode() & needed == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Looks a user up in the text of `/etc/passwd`, which is where packages put their users.
fn find(accounts: &str, user: &str) -> Option<Account> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != user {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    const STRANGER: Account = Account { uid: 64_999, gid: 64_999 };

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let accounts =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find(accounts, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find(accounts, "post"), None);
    }

    #[test]
    fn a_folder_closed_to_others_keeps_a_stranger_from_what_is_below() {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let below = dir.path().join("below");
        fs::create_dir(&below).expect("a folder");

        fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).expect("ours");
        assert!(STRANGER.reaches(&below).expect("it exists"));
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("ours");
        assert!(!STRANGER.reaches(&below).expect("it exists"));
    }
}
