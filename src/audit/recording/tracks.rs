//! The files of a connection's recording: one for all, or one for each program that is started.
//!
//! Invariants: a program's messages are in one file, in their order; a cast begins when its program passes from the rules to
//! the guest, so that its first line has nothing that was refused; only a session channel has casts; a file is sealed when
//! its program is refused, at its channel's end, or at the connection's; a channel that is over takes no memory once its
//! file is written.

use super::now;
use super::track::{Report, Track};
use crate::types::RecordingFormat;
use futures_util::future::join_all;
use parking_lot::Mutex;
use podgate_recording::file::{Directory, cast_name};
use podgate_recording::writer::{Unwritten, cast_writer, writer};
use podgate_recording::{CastSetting, Message, Payload};
use std::collections::HashMap;
use std::sync::Arc;

/// The files of one connection.
pub(super) enum Tracks {
    One(Arc<Track>),
    Casts(Box<Casts>),
}

/// The asciicasts of a connection's channels.
pub(super) struct Casts {
    directory: Directory,
    id: String,
    report: Report,
    channels: Mutex<Channels>,
}

#[derive(Default)]
struct Channels {
    /// The session channels. A request can cross the end of its channel on the way, and finds none.
    open: HashMap<u32, Channel>,
    /// The files whose end is being written.
    ending: Vec<Arc<Track>>,
}

/// A session channel.
#[derive(Default)]
struct Channel {
    /// The terminal and the variables that were accepted for the next program.
    setting: CastSetting,
    /// The request for a terminal or a variable that is being decided on.
    asked: Option<Payload>,
    /// The file of the program that was started.
    track: Option<Arc<Track>>,
    /// The number of its casts.
    casts: u32,
}

impl Tracks {
    pub(super) fn new(format: RecordingFormat, directory: Directory, id: String, report: Report) -> Self {
        match format {
            RecordingFormat::Binary => {
                let report = report.of(directory.path_of(&id).display().to_string());
                Self::One(Arc::new(Track::new(writer(move || directory.begin(&id)), report)))
            }
            RecordingFormat::Asciicast => {
                Self::Casts(Box::new(Casts { directory, id, report, channels: Mutex::default() }))
            }
        }
    }

    /// Queues a message by `push`, if there is a file that it belongs to.
    pub(super) fn push(
        &self,
        channel: Option<u32>,
        message: &Message,
        push: impl FnOnce(&Track, &Message) -> Result<(), Unwritten>,
    ) -> Result<(), Unwritten> {
        let payload = &message.payload;
        match self {
            Self::One(track) => {
                let pushed = push(track, message);
                if begins_connection(payload) {
                    track.begin();
                }
                pushed
            }
            Self::Casts(casts) => {
                let Some(number) = channel else { return Ok(()) };
                let pushed = casts.of_message(number, payload).map_or(Ok(()), |track| push(&track, message));
                if let Payload::Close {} = payload {
                    let mut channels = casts.channels.lock();
                    let over = channels.open.remove(&number);
                    channels.end(over.and_then(|channel| channel.track));
                }
                pushed
            }
        }
    }

    /// Begins the file of a program that is to be started, where each has its own. The message is the request for it.
    pub(super) fn begin_program(&self, channel: Option<u32>, program: &Message) -> Result<(), Unwritten> {
        match self {
            Self::One(track) => track.standing(),
            Self::Casts(casts) => channel.map_or(Ok(()), |number| casts.begin(number, program)),
        }
    }

    /// Notes that a channel's last request for a terminal or a variable was accepted.
    pub(super) fn accept(&self, channel: Option<u32>) {
        if let Self::Casts(casts) = self {
            casts.with(channel, |Channel { setting, asked, .. }| {
                asked.take().iter().for_each(|payload| setting.take(payload));
            });
        }
    }

    /// Ends the file of a program that was refused, whose terminal and variables are spent.
    pub(super) fn refuse_program(&self, channel: Option<u32>) {
        if let Self::Casts(casts) = self {
            let refused = casts.with(channel, |channel| {
                channel.setting = CastSetting::default();
                channel.track.take()
            });
            casts.channels.lock().end(refused.flatten());
        }
    }

    /// Tells whether the data of forwarded connections has a place.
    pub(super) fn takes_forwarding(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The file that a channel has.
    pub(super) fn of(&self, channel: Option<u32>) -> Option<Arc<Track>> {
        match self {
            Self::One(track) => Some(track.clone()),
            Self::Casts(casts) => casts.with(channel, |channel| channel.track.clone())?,
        }
    }

    /// Tells whether the channel's file has failed.
    pub(super) fn standing(&self, channel: Option<u32>) -> Result<(), Unwritten> {
        self.of(channel).map_or(Ok(()), |track| track.standing())
    }

    /// Ends every file and waits for it.
    pub(super) async fn finish(&self, time: i64, stuck: &str) {
        let tracks = match self {
            Self::One(track) => vec![track.clone()],
            Self::Casts(casts) => {
                let Channels { open, ending } = std::mem::take(&mut *casts.channels.lock());
                open.into_values().filter_map(|channel| channel.track).chain(ending).collect()
            }
        };
        tracks.iter().for_each(|track| track.seal(time));
        join_all(tracks.iter().map(|track| track.finish(stuck))).await;
    }
}

impl Casts {
    /// Takes a channel's message, and returns the file that is to have it.
    fn of_message(&self, number: u32, payload: &Payload) -> Option<Arc<Track>> {
        let mut channels = self.channels.lock();
        if matches!(payload, Payload::NewChannelSuccessful { channel_type } if channel_type == "session") {
            let earlier = channels.open.insert(number, Channel::default());
            channels.end(earlier.and_then(|channel| channel.track));
        }
        let channel = channels.open.get_mut(&number)?;
        channel.setting.note(payload);
        match payload {
            Payload::Pty { .. } | Payload::SetEnv { .. } => channel.asked = Some(payload.clone()),
            Payload::Window { .. } => channel.setting.take(payload),
            _ => {}
        }
        channel.track.clone()
    }

    /// Begins the cast of a program with the request for it, before anybody else can add to it.
    fn begin(&self, number: u32, program: &Message) -> Result<(), Unwritten> {
        let mut channels = self.channels.lock();
        let Channel { setting, casts, track, .. } = channels.open.get_mut(&number).ok_or(Unwritten::Ended)?;
        *casts += 1;
        let begun = Arc::new(self.track(cast_name(&self.id, number, *casts), std::mem::take(setting)));
        let pushed = begun.push(program);
        begun.begin();
        let earlier = track.replace(begun);
        channels.end(earlier);
        pushed
    }

    fn track(&self, name: String, setting: CastSetting) -> Track {
        let directory = self.directory.clone();
        let report = self.report.of(directory.path_of(&name).display().to_string());
        Track::new(cast_writer(setting, move || directory.begin_cast(&name)), report)
    }

    fn with<T>(&self, number: Option<u32>, act: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        self.channels.lock().open.get_mut(&number?).map(act)
    }
}

impl Channels {
    /// Has a file be ended.
    fn end(&mut self, track: Option<Arc<Track>>) {
        self.ending.retain(|track| !track.is_over());
        if let Some(track) = track {
            track.seal(now());
            self.ending.push(track);
        }
    }
}

fn begins_connection(payload: &Payload) -> bool {
    !matches!(
        payload,
        Payload::Connect { .. }
            | Payload::ConnectionEnded { .. }
            | Payload::Disconnect {}
            | Payload::HandshakeFailed { .. }
    )
}

#[cfg(test)]
mod tests;
