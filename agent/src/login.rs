//! The login of the container's user: what a program finds in its environment before anything is asked for it.
//!
//! The user is the one that the container runs as. `/etc/passwd` is read as it is: a static program has no other directory
//! service, and an image without the file, or without the user, has defaults.

use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// `PATH` where the image has none, as OpenSSH's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHELL: &str = "/bin/sh";

/// The user that the container runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The name; the user id in digits where there is none.
    pub(crate) name: OsString,
    /// The home directory of a program.
    pub(crate) home: OsString,
    /// The shell; `None` where the passwd file names none.
    pub(crate) shell: Option<OsString>,
}

/// A line of a passwd file.
struct Entry<'a> {
    name: &'a [u8],
    uid: u32,
    home: &'a [u8],
    shell: &'a [u8],
}

fn entries(passwd: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    passwd.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, id, _, _, home, shell] = fields[..] else { return None };
        Some(Entry { name, uid: number(id)?, home, shell })
    })
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The content of a file of `/etc`; nothing where it is missing or too large.
fn read(path: &str) -> Vec<u8> {
    let small = fs::metadata(path).is_ok_and(|file| file.len() <= MAX_FILE);
    if small { fs::read(path).unwrap_or_default() } else { Vec::new() }
}

/// The home directory of a user.
pub(crate) fn home_of(name: &OsStr) -> Option<OsString> {
    let passwd = read(PASSWD);
    let entry = entries(&passwd).find(|entry| entry.name == name.as_bytes())?;
    Some(OsStr::from_bytes(entry.home).to_owned())
}

/// The names of the container's users and groups, as they were when they were read.
pub(crate) struct Names {
    users: BTreeMap<u32, Vec<u8>>,
    groups: BTreeMap<u32, Vec<u8>>,
}

impl Names {
    /// Reads the passwd and the group file.
    pub(crate) fn read() -> Self {
        let (passwd, group) = (read(PASSWD), read(GROUP));
        let groups = group.split(|byte| *byte == b'\n').filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
            Some((number(id)?, name))
        });
        let (mut users, mut named) = (BTreeMap::new(), BTreeMap::new());
        // The first line of an id counts, as for getpwuid(3).
        for entry in entries(&passwd) {
            users.entry(entry.uid).or_insert_with(|| entry.name.to_vec());
        }
        for (id, name) in groups {
            named.entry(id).or_insert_with(|| name.to_vec());
        }
        Self { users, groups: named }
    }

    /// The name of a user id.
    pub(crate) fn user(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(Vec::as_slice)
    }

    /// The name of a group id.
    pub(crate) fn group(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(Vec::as_slice)
    }
}

impl Login {
    /// The user that this process runs as.
    pub(crate) fn current() -> Self {
        Self::of(geteuid().as_raw(), &read(PASSWD), std::env::var_os("HOME"))
    }

    /// The user of this id in a passwd file. `home` is the container's variable: the runtime sets it from the same file where
    /// neither the image nor the pod says another one.
    fn of(uid: u32, passwd: &[u8], home: Option<OsString>) -> Self {
        let entry = entries(passwd).find(|entry| entry.uid == uid);
        let (name, passwd_home, shell) = entry.map(|entry| (entry.name, entry.home, entry.shell)).unwrap_or_default();
        let text = |bytes: &[u8]| (!bytes.is_empty()).then(|| OsString::from_vec(bytes.to_vec()));
        Self {
            name: text(name).unwrap_or_else(|| uid.to_string().into()),
            home: home.filter(|home| !home.is_empty()).or(text(passwd_home)).unwrap_or_else(|| "/".into()),
            shell: text(shell),
        }
    }

    /// The environment of a program: the container's, the login's, and what was asked for, the later over the earlier.
    pub(crate) fn environment(&self, asked: &[(Vec<u8>, Vec<u8>)]) -> BTreeMap<OsString, OsString> {
        self.environment_over(std::env::vars_os().collect(), asked)
    }

    /// The environment of a program over that of the container. As by sshd, the passwd file has the word on the user's
    /// name and shell; the container keeps its PATH, and its SHELL where that file has none.
    fn environment_over(
        &self,
        mut environment: BTreeMap<OsString, OsString>,
        asked: &[(Vec<u8>, Vec<u8>)],
    ) -> BTreeMap<OsString, OsString> {
        // The shell that started the agent left these.
        for name in ["_", "OLDPWD", "PWD", "SHLVL"] {
            environment.remove(OsStr::new(name));
        }
        for (name, default) in [("PATH", DEFAULT_PATH), ("SHELL", DEFAULT_SHELL)] {
            let value = environment.entry(name.into()).or_default();
            if value.is_empty() {
                *value = default.into();
            }
        }
        if let Some(shell) = &self.shell {
            environment.insert("SHELL".into(), shell.clone());
        }
        for (name, value) in [("HOME", &self.home), ("USER", &self.name), ("LOGNAME", &self.name)] {
            environment.insert(name.into(), value.clone());
        }
        for (name, value) in asked {
            environment.insert(OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned());
        }
        environment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_read_from_passwd_and_has_defaults_without() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\nbroken\napp:x:1000:1000::/srv/app:\n";
        let of = |uid, home: Option<&str>| Login::of(uid, passwd, home.map(Into::into));
        let login = |name: &str, home: &str, shell: &str| Login {
            name: name.into(),
            home: home.into(),
            shell: (!shell.is_empty()).then(|| shell.into()),
        };
        assert_eq!(of(0, Some("/other")), login("root", "/other", "/bin/bash"));
        assert_eq!(of(0, Some("")), login("root", "/root", "/bin/bash"));
        assert_eq!(of(1000, None), login("app", "/srv/app", ""));
        assert_eq!(of(4711, Some("/home/x")), login("4711", "/home/x", ""));
        assert_eq!(Login::of(4711, b"", None), login("4711", "/", ""));
    }

    #[test]
    fn environment_is_the_image_s_with_the_user_s_login() {
        let known = Login { name: "app".into(), home: "/srv/app".into(), shell: Some("/bin/bash".into()) };
        let unknown = Login { name: "4711".into(), home: "/".into(), shell: None };
        let image = "PATH=/opt/bin HOME=/x USER=root SHELL=/bin/ash LANG=C SHLVL=1 PWD=/ OLDPWD=/a _=/bin/env";
        let rows = [
            (&known, image, "", "HOME=/srv/app LANG=C LOGNAME=app PATH=/opt/bin SHELL=/bin/bash USER=app"),
            (&unknown, image, "", "HOME=/ LANG=C LOGNAME=4711 PATH=/opt/bin SHELL=/bin/ash USER=4711"),
            (&unknown, "", "", &format!("HOME=/ LOGNAME=4711 PATH={DEFAULT_PATH} SHELL=/bin/sh USER=4711")),
            (
                &known,
                image,
                "HOME=/h PATH=/p SSH_CLIENT=c",
                "HOME=/h LANG=C LOGNAME=app PATH=/p SHELL=/bin/bash SSH_CLIENT=c USER=app",
            ),
        ];
        let pairs = |text: &str| -> Vec<(String, String)> {
            text.split_whitespace()
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(a, b)| (a.into(), b.into()))
                .collect()
        };
        for (login, image, asked, expected) in rows {
            let image = pairs(image).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let asked: Vec<_> = pairs(asked).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let environment = login.environment_over(image, &asked);
            let shown: Vec<String> =
                environment.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
            assert_eq!(shown.join(" "), expected);
        }
    }
}
