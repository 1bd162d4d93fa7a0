//! The helper programs that a backend starts in a container by itself. Each ends with a status of its own: a stream that
//! was cut may say 0 too, so none of them ends with 0 when all is well.

/// The exit status of [`write_file`] once everything is written.
pub(crate) const WRITTEN: u8 = 3;

/// Writes standard input to `path`, readable by its owner alone; the path is an argument, never part of the script.
pub(crate) fn write_file(path: &str) -> Vec<String> {
    ["sh", "-c", "umask 077; cat >\"$1\" && exit 3", "sh", path].map(str::to_owned).to_vec()
}

/// The exit status of [`tools_probe`] in an image with `/bin/sh` and `env`.
pub(crate) const SH_AND_ENV: u8 = 3;
/// The exit status of [`tools_probe`] in an image with `/bin/sh` and without `env`.
pub(crate) const SH_ALONE: u8 = 4;

/// Reports by its status whether the image has an `env`; fails with 127 without `/bin/sh`.
pub(crate) fn tools_probe() -> Vec<String> {
    ["/bin/sh", "-c", "env -i && exit 3; exit 4"].map(str::to_owned).to_vec()
}

/// The exit status of [`life_probe`] in a container that lives and has `/bin/sh`.
pub(crate) const ALIVE: u8 = 3;

/// Reports by its status that a program can be started.
pub(crate) fn life_probe() -> Vec<String> {
    ["/bin/sh", "-c", "exit 3"].map(str::to_owned).to_vec()
}

/// Names a program that no image has: only a container that lives reports its absence.
pub(crate) fn missing_program() -> Vec<String> {
    vec!["/podgate-looks-whether-the-container-lives".to_owned()]
}

/// Fails with 127 in an image without `env`, and prints nothing in one with it.
pub(crate) fn env_probe() -> Vec<String> {
    ["env", "-i"].map(str::to_owned).to_vec()
}
