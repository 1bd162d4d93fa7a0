//! The files of a connection's recording: one for all, or one for each channel that has a program.
//!
//! Invariants: a channel's messages are in one file, in their order; a file is sealed at its channel's end, or at the
//! connection's; a channel that is over takes no memory once its file is written.

use super::now;
use super::track::{Report, Track};
use crate::types::RecordingFormat;
use futures_util::future::join_all;
use parking_lot::Mutex;
use podgate_recording::file::{Directory, cast_name};
use podgate_recording::writer::{Unwritten, cast_writer, writer};
use podgate_recording::{Message, Payload};
use std::collections::{HashMap, HashSet};
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
    open: HashMap<u32, Arc<Track>>,
    /// Those whose end is being written.
    ending: Vec<Arc<Track>>,
    /// The channels that had one. A request can cross the end of its channel on the way, and begins nothing.
    over: HashSet<u32>,
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
                let Some(track) = channel.and_then(|channel| casts.of_message(channel, payload)) else { return Ok(()) };
                let pushed = push(&track, message);
                if begins_cast(payload) {
                    track.begin();
                }
                if let (Some(channel), Payload::Close {}) = (channel, payload) {
                    casts.end(channel);
                }
                pushed
            }
        }
    }

    /// The file that a channel has.
    pub(super) fn of(&self, channel: Option<u32>) -> Option<Arc<Track>> {
        match self {
            Self::One(track) => Some(track.clone()),
            Self::Casts(casts) => casts.channels.lock().open.get(&channel?).cloned(),
        }
    }

    /// The file that must have an effect of a channel.
    pub(super) fn for_effect(&self, channel: Option<u32>) -> Option<Arc<Track>> {
        let is_cast = matches!(self, Self::Casts(_));
        self.of(channel).filter(|track| !is_cast || track.is_begun())
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
                let Channels { open, ending, .. } = std::mem::take(&mut *casts.channels.lock());
                open.into_values().chain(ending).collect()
            }
        };
        tracks.iter().for_each(|track| track.seal(time));
        join_all(tracks.iter().map(|track| track.finish(stuck))).await;
    }
}

impl Casts {
    /// The track for a channel's message, which is made for the first that a cast can begin with.
    fn of_message(&self, channel: u32, payload: &Payload) -> Option<Arc<Track>> {
        let Channels { open, over, .. } = &mut *self.channels.lock();
        if let Some(track) = open.get(&channel) {
            return Some(track.clone());
        }
        if matches!(payload, Payload::NewChannelSuccessful { .. }) {
            over.remove(&channel);
        }
        if over.contains(&channel) {
            return None;
        }
        let is_of_a_program = begins_cast(payload) || matches!(payload, Payload::Pty { .. } | Payload::SetEnv { .. });
        is_of_a_program.then(|| open.entry(channel).or_insert_with(|| Arc::new(self.track(channel))).clone())
    }

    fn track(&self, channel: u32) -> Track {
        let (directory, name) = (self.directory.clone(), cast_name(&self.id, channel));
        let report = self.report.of(directory.path_of(&name).display().to_string());
        Track::new(cast_writer(move || directory.begin_cast(&name)), report)
    }

    fn end(&self, channel: u32) {
        let Channels { open, ending, over } = &mut *self.channels.lock();
        ending.retain(|track| !track.is_over());
        if let Some(track) = open.remove(&channel) {
            over.insert(channel);
            track.seal(now());
            ending.push(track);
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

fn begins_cast(payload: &Payload) -> bool {
    matches!(payload, Payload::Exec { .. } | Payload::Shell { .. } | Payload::Subsystem { .. })
}

#[cfg(test)]
mod tests;
