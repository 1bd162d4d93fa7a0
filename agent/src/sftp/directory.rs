//! Listings: each entry with its attributes, and with the line that `ls -l` would show of it, as OpenSSH's server makes it.

use super::handles::Directory;
use super::packet::Reply;
use super::status::Status;
use super::{Answer, attributes, kind};
use crate::login::Names;
use rustix::fs::{AtFlags, FileType, Stat};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries of one reply.
const MAX_ENTRIES: u32 = 256;
/// Bytes of one reply from which on no more entries are added; a name has at most 255 bytes, and comes twice.
const FULL: usize = 128 * 1024;
/// Least width of a user's or group's name.
const NAME: usize = 8;
/// Age from which on a line shows the year and not the time, in seconds: half a year.
const OLD: i64 = 365 * 24 * 3600 / 2;

/// The next entries of a directory.
pub(super) fn read(id: u32, directory: &mut Directory) -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0));
    let (mut count, mut entries) = (0, Vec::new());
    while count < MAX_ENTRIES
        && entries.len() < FULL
        && let Some(entry) = directory.entries.next()
    {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // One that went in this moment is no entry any more.
        let Ok(stat) = rustix::fs::statat(&directory.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let mut line = line(&stat, &directory.names, now);
        line.extend_from_slice(name);
        for text in [name, &line] {
            entries.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
            entries.extend_from_slice(text);
        }
        attributes::write(&mut entries, &stat);
        count += 1;
    }
    if count == 0 {
        return Err(Status::EndOfFile);
    }
    Ok(Reply::new(kind::NAME, id).number(count).bytes(&entries))
}

/// The line of `ls -l`, up to the name. Users and groups without a name have their number; times are UTC.
fn line(stat: &Stat, names: &Names, now: i64) -> Vec<u8> {
    let mut line = format!("{} {:3} ", mode(stat.st_mode), stat.st_nlink).into_bytes();
    for (id, name) in [(stat.st_uid, names.user(stat.st_uid)), (stat.st_gid, names.group(stat.st_gid))] {
        let before = line.len();
        line.extend_from_slice(&name.map_or_else(|| id.to_string().into_bytes(), <[u8]>::to_vec));
        line.resize(line.len().max(before + NAME), b' ');
        line.push(b' ');
    }
    line.extend_from_slice(format!("{:8} {} ", stat.st_size, time(stat.st_mtime, now)).as_bytes());
    line
}

/// The ten letters of a mode, as strmode(3) writes them, and a space.
fn mode(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 'd',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::RegularFile => '-',
        FileType::Symlink => 'l',
        FileType::Socket => 's',
        FileType::Fifo => 'p',
        FileType::Unknown => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, lower, upper) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => lower,
            (false, true) => upper,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text.push(' ');
    text
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Nov 29 23:05` of the last half year, else `Nov 29  2024`.
fn time(seconds: i64, now: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let month = MONTHS.get(month - 1).unwrap_or(&"???");
    if seconds <= now && now.saturating_sub(seconds) < OLD {
        format!("{month} {day:2} {:02}:{:02}", second / 3600, second / 60 % 60)
    } else {
        format!("{month} {day:2}  {year}")
    }
}

/// Year, month (1 to 12) and day of a day since 1970-01-01 in the Gregorian calendar, by eras of 400 years from March on.
fn date(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, usize::try_from(month).unwrap_or(1), day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_786, (2026, 11, 29)),
            (-1, (1969, 12, 31)),
        ] {
            assert_eq!(date(day), expected);
        }
        assert_eq!(time(1_795_992_300, 1_795_992_400), "Nov 29 22:45");
        assert_eq!(time(0, 1_795_992_400), "Jan  1  1970");
        // Some file systems keep any time.
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!time(seconds, 1_795_992_400).contains(':'), "{seconds}");
        }
    }

    #[test]
    fn modes_have_their_letters() {
        for (bits, expected) in [(0o100_644, "-rw-r--r-- "), (0o041_777, "drwxrwxrwt "), (0o104_611, "-rwS--x--x ")] {
            assert_eq!(mode(bits), expected, "{bits:o}");
        }
    }
}
