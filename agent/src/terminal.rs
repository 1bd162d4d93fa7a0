//! Terminals for programs: a pseudo-terminal with the client's size and modes (RFC 4254 section 8).

use podgate_link::request::{Size, TerminalRequest};
use pty_process::blocking::{Pts, Pty, open};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// `_POSIX_VDISABLE`: a special character that is switched off; 255 in RFC 4254.
const DISABLED: u8 = 0;

/// A terminal that no program has yet.
pub(crate) struct Terminal {
    master: Pty,
    slave: Pts,
}

impl Terminal {
    /// Opens a terminal with the size and modes of a request.
    pub(crate) fn open(request: &TerminalRequest) -> io::Result<Self> {
        let (master, slave) = open().map_err(io::Error::other)?;
        let mut termios = tcgetattr(&master)?;
        for (opcode, value) in &request.modes {
            apply(&mut termios, *opcode, *value);
        }
        tcsetattr(&master, OptionalActions::Now, &termios)?;
        resize(master.as_fd(), request.size);
        Ok(Self { master, slave })
    }

    /// The path of the program's end, for `SSH_TTY`.
    pub(crate) fn path(&self) -> Option<OsString> {
        rustix::pty::ptsname(&self.master, Vec::new()).ok().map(|path| OsString::from_vec(path.into_bytes()))
    }

    /// This end, and the program's.
    pub(crate) fn into_parts(self) -> (OwnedFd, Pts) {
        (self.master.into(), self.slave)
    }
}

/// Sets the size, and has the foreground process group told where it changed. A terminal that is gone has no size.
pub(crate) fn resize(master: BorrowedFd<'_>, size: Size) {
    let number = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let size = rustix::termios::Winsize {
        ws_row: number(size.rows),
        ws_col: number(size.columns),
        ws_xpixel: number(size.width),
        ws_ypixel: number(size.height),
    };
    let _ = rustix::termios::tcsetwinsize(master, size);
}

/// Sets one mode. Opcodes that Linux does not have are passed over, as by sshd.
fn apply(termios: &mut Termios, opcode: u8, value: u32) {
    if let Some((_, index)) = CHARACTERS.iter().find(|(known, _)| *known == opcode) {
        let value = u8::try_from(value).unwrap_or(u8::MAX);
        termios.special_codes[*index] = if value == u8::MAX { DISABLED } else { value };
        return;
    }
    let on = value != 0;
    if let Some((_, flag)) = INPUT.iter().find(|(known, _)| *known == opcode) {
        termios.input_modes.set(*flag, on);
    } else if let Some((_, flag)) = LOCAL.iter().find(|(known, _)| *known == opcode) {
        termios.local_modes.set(*flag, on);
    } else if let Some((_, flag)) = OUTPUT.iter().find(|(known, _)| *known == opcode) {
        termios.output_modes.set(*flag, on);
    } else {
        match opcode {
            CS7 if on => size_of_characters(termios, ControlModes::CS7),
            CS8 if on => size_of_characters(termios, ControlModes::CS8),
            PARENB => termios.control_modes.set(ControlModes::PARENB, on),
            PARODD => termios.control_modes.set(ControlModes::PARODD, on),
            ISPEED if RATES.contains(&value) => set_speed(termios, Termios::set_input_speed, value),
            OSPEED if RATES.contains(&value) => set_speed(termios, Termios::set_output_speed, value),
            _ => {}
        }
    }
}

fn size_of_characters(termios: &mut Termios, size: ControlModes) {
    termios.control_modes.remove(ControlModes::CSIZE);
    termios.control_modes.insert(size);
}

/// Sets a speed, which means nothing to a pseudo-terminal but is shown to programs. One that the system does not take is
/// passed over.
fn set_speed(termios: &mut Termios, set: fn(&mut Termios, u32) -> rustix::io::Result<()>, rate: u32) {
    let _ = set(termios, rate);
}

const ISPEED: u8 = 128;
const OSPEED: u8 = 129;
/// The speeds that Linux has, in bits a second. 0 would hang the line up.
const RATES: [u32; 30] = [
    50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400,
    460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000,
    4_000_000,
];

const CS7: u8 = 90;
const CS8: u8 = 91;
const PARENB: u8 = 92;
const PARODD: u8 = 93;

/// Special characters by their opcode.
const CHARACTERS: [(u8, SpecialCodeIndex); 15] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (16, SpecialCodeIndex::VSWTC),
    (18, SpecialCodeIndex::VDISCARD),
];

/// Input modes by their opcode.
const INPUT: [(u8, InputModes); 13] = [
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    // RFC 8160.
    (42, InputModes::IUTF8),
];

/// Local modes by their opcode.
const LOCAL: [(u8, LocalModes); 13] = [
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (52, LocalModes::XCASE),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

/// Output modes by their opcode.
const OUTPUT: [(u8, OutputModes); 6] = [
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];
