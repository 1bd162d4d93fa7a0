//! A terminal's modes (RFC 4254 section 8) as words for `stty`, and the line of shell that sets them. Every word is one
//! of ours or a number: nothing that a client sent reaches a shell as text.
//!
//! The rules are those of OpenSSH's sshd (ttymodes.c): what it sets is set, what Linux lacks is passed over.

use crate::types::Modes;
use std::fmt::Write;

/// Characters: opcode and name. Linux has no VDSUSP (11), VFLUSH (15) and VSTATUS (17).
const CHARACTERS: [(u8, &str); 15] = [
    (1, "intr"),
    (2, "quit"),
    (3, "erase"),
    (4, "kill"),
    (5, "eof"),
    (6, "eol"),
    (7, "eol2"),
    (8, "start"),
    (9, "stop"),
    (10, "susp"),
    (12, "rprnt"),
    (13, "werase"),
    (14, "lnext"),
    (16, "swtch"),
    (18, "discard"),
];

/// Switches: opcode and name. PENDIN (62) is a state that no program sets.
const SWITCHES: [(u8, &str); 32] = [
    (30, "ignpar"),
    (31, "parmrk"),
    (32, "inpck"),
    (33, "istrip"),
    (34, "inlcr"),
    (35, "igncr"),
    (36, "icrnl"),
    (37, "iuclc"),
    (38, "ixon"),
    (39, "ixany"),
    (40, "ixoff"),
    (41, "imaxbel"),
    (42, "iutf8"),
    (50, "isig"),
    (51, "icanon"),
    (52, "xcase"),
    (53, "echo"),
    (54, "echoe"),
    (55, "echok"),
    (56, "echonl"),
    (57, "noflsh"),
    (58, "tostop"),
    (59, "iexten"),
    (60, "echoctl"),
    (61, "echoke"),
    (70, "opost"),
    (71, "olcuc"),
    (72, "onlcr"),
    (73, "ocrnl"),
    (74, "onocr"),
    (75, "onlret"),
    (92, "parenb"),
];
const PARODD: (u8, &str) = (93, "parodd");

/// The character size is in two opcodes, each of which sets or clears its bits of `c_cflag`.
const CS7: u8 = 90;
const CS8: u8 = 91;

/// Speeds: opcode and name.
const SPEEDS: [(u8, &str); 2] = [(128, "ispeed"), (129, "ospeed")];
/// The speeds that Linux has, in bits a second. 0 would hang the line up.
const RATES: [u32; 30] = [
    50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400,
    460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

/// Sets what stands behind it: all at once, or where a `stty` does not know all of it, one by one. A word with an operand
/// has no `-`, and what has none is no such word.
const SET: &str = "stty_() { command -v stty >/dev/null 2>&1 || return 0; stty \"$@\" && return; \
     while [ $# -gt 0 ]; do case $2 in [0-9]*|'^'*|undef) stty \"$1\" \"$2\"; shift;; *) stty \"$1\";; esac; shift; done; \
     return 0; }; stty_";

/// The line of shell that sets the modes, to its `; `; empty where there is nothing to set. It writes nothing.
pub(crate) fn script(modes: &Modes) -> String {
    let words = words(modes);
    if words.is_empty() { String::new() } else { format!("{SET}{words} >/dev/null 2>&1; ") }
}

/// Each word behind a space.
fn words(modes: &Modes) -> String {
    let mut words = String::new();
    for (opcode, name) in CHARACTERS {
        if let Some(argument) = modes.get(opcode) {
            // Writing to a text cannot fail.
            let _ = write!(words, " {name} {}", character(argument));
        }
    }
    for (opcode, name) in SWITCHES.into_iter().chain([PARODD]) {
        if let Some(argument) = modes.get(opcode) {
            let _ = write!(words, " {}{name}", if argument == 0 { "-" } else { "" });
        }
    }
    if let Some(size) = character_size(modes) {
        let _ = write!(words, " {size}");
    }
    for (opcode, name) in SPEEDS {
        if let Some(rate) = modes.get(opcode).filter(|rate| RATES.contains(rate)) {
            let _ = write!(words, " {name} {rate}");
        }
    }
    words
}

/// 255 is none, and on Linux 0 is. A number of one digit would be read as that digit, so it is a control character.
fn character(argument: u32) -> String {
    let [.., byte] = argument.to_be_bytes();
    match byte {
        _ if argument == 255 => "undef".to_owned(),
        0 => "undef".to_owned(),
        control @ 1..=9 => format!("'^{}'", char::from(b'@' + control)),
        number => number.to_string(),
    }
}

/// A new terminal has eight bits.
fn character_size(modes: &Modes) -> Option<&'static str> {
    let (seven, eight) = (modes.get(CS7), modes.get(CS8));
    let mut bits = 0b11;
    for (argument, own) in [(seven, 0b10), (eight, 0b11)] {
        match argument? {
            0 => bits &= !own,
            _ => bits |= own,
        }
    }
    Some(["cs5", "cs6", "cs7", "cs8"][bits])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn client_that_sends_no_modes_or_only_unknown_ones_costs_nothing() {
        for modes in [&[][..], &[(0, 7), (11, 1), (15, 1), (17, 1), (62, 1), (99, 1)], &[(128, 0), (129, 31_337)]] {
            assert_eq!(script(&Modes::new(modes.iter().copied())), "", "{modes:?}");
        }
    }

    #[test]
    fn every_mode_has_its_word() {
        for (opcode, argument, expected) in [
            (1, 3, " intr '^C'"),
            (1, 9, " intr '^I'"),
            (1, 10, " intr 10"),
            (3, 127, " erase 127"),
            (3, 200, " erase 200"),
            (5, 0, " eof undef"),
            (5, 255, " eof undef"),
            (8, 256 + 65, " start 65"),
            (53, 0, " -echo"),
            (53, 1, " echo"),
            (53, u32::MAX, " echo"),
            (42, 1, " iutf8"),
            (93, 1, " parodd"),
            (129, 38_400, " ospeed 38400"),
        ] {
            assert_eq!(words(&Modes::new([(opcode, argument)])), expected, "{opcode} {argument}");
        }
    }

    #[test]
    fn character_size_is_what_sshd_makes_of_both_opcodes() {
        for (seven, eight, expected) in [(1, 1, "cs8"), (0, 0, "cs5"), (1, 0, "cs5"), (0, 1, "cs8")] {
            assert_eq!(character_size(&Modes::new([(CS7, seven), (CS8, eight)])), Some(expected));
        }
        assert_eq!(character_size(&Modes::new([(CS7, 1)])), None);
    }

    #[test]
    fn nothing_but_our_words_and_numbers_reaches_the_shell() {
        let all = (0..=u8::MAX).flat_map(|opcode| [0, 1, 38, 59, 96, 255, u32::MAX].map(|argument| (opcode, argument)));
        for (opcode, argument) in all {
            let words = words(&Modes::new([(opcode, argument)]));
            let harmless = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || " -".contains(c);
            let rest = words.replace("'^", "").replace('\'', "").to_lowercase();
            assert!(rest.chars().all(harmless), "{words}");
        }
    }

    /// Runs the line with a `stty` that knows only `known`, and says what it was asked for.
    fn asked(shell: &[&str], known: &str) -> String {
        let modes = Modes::new([(1, 24), (3, 8), (18, 15), (53, 0), (72, 1), (90, 1), (91, 1), (129, 9600)]);
        let fake = format!(
            "stty() {{ for word; do case $word in {known}) ;; *) return 1;; esac; done; echo \"$@\" >&3; }}; exec 3>&1; "
        );
        let done = Command::new(shell[0]).args(&shell[1..]).args(["-c", &format!("{fake}{}", script(&modes))]).output();
        let done = done.unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    #[test]
    fn word_that_a_stty_does_not_know_costs_no_other() {
        let shells: [&[&str]; 4] = [&["/bin/sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];
        let there = |shell: &&&[&str]| Command::new(shell[0]).arg(shell.get(1).unwrap_or(&"-c")).output().is_ok();
        for shell in shells.iter().filter(there) {
            assert_eq!(asked(shell, "*"), "intr 24 erase ^H discard 15 -echo onlcr cs8 ospeed 9600\n", "{shell:?}");
            let some = asked(shell, "intr|24|erase|^H|-echo|cs8|ospeed|9600");
            assert_eq!(some, "intr 24\nerase ^H\n-echo\ncs8\nospeed 9600\n", "{shell:?}");
        }
    }
}
