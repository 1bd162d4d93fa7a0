//! The messages of a recording: ContainerSSH's types with their numbers, names and keys, each as a Rust value.
//!
//! Invariants: a message that is read, written and read again is the same; of a type that is known here, only the
//! fields that are known are kept, and one of another type is kept as it is. ContainerSSH 0.6 has no type 2, 308 and 410: its
//! decoder takes them for unknown types.

use super::value::{Field, Value, take};
use bytes::Bytes;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The connection's id: 32 hexadecimal digits.
    pub connection: String,
    /// Nanoseconds since 1970.
    pub timestamp: i64,
    /// The channel's number; `None` for what concerns the connection.
    pub channel: Option<u64>,
    pub payload: Payload,
}

/// The error of a message whose values have other types than its type of message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of type {0} has a value of a wrong type")]
pub struct WrongPayload(pub i64);

/// Makes the payloads: number, `typeId`, `typeName`, variant, and each field with its key.
macro_rules! payloads {
    ($($number:literal $id:literal $title:literal $variant:ident {$($field:ident: $type:ty = $key:literal),*})*) => {
        /// The part of a message that its type determines.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Payload {
            $($variant { $($field: $type),* },)*
            /// A type that is not known here.
            Other { number: i64, payload: Value },
        }

        impl Payload {
            /// The type's number.
            pub fn number(&self) -> i64 {
                match self {
                    $(Self::$variant { .. } => $number,)*
                    Self::Other { number, .. } => *number,
                }
            }

            /// The type's `typeId` and `typeName`; ContainerSSH has none for some.
            pub(super) fn names(&self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant { .. } => ($id, $title),)*
                    Self::Other { .. } => ("invalid", "invalid"),
                }
            }

            /// The payload's value: null where the type has no field.
            pub(super) fn to_value(&self) -> Value {
                match self {
                    $(Self::$variant { $($field),* } => map(vec![$(($key, $field.to_value())),*]),)*
                    Self::Other { payload, .. } => payload.clone(),
                }
            }

            /// Reads a payload of the type of that number. A field that is not there has Go's zero value, and one that is not
            /// known is left out.
            ///
            /// # Errors
            /// A field has a value of another type.
            pub(super) fn of_value(number: i64, payload: Value) -> Result<Self, WrongPayload> {
                Self::read(number, payload).ok_or(WrongPayload(number))
            }

            fn read(number: i64, payload: Value) -> Option<Self> {
                match number {
                    $($number)|* => Self::of_fields(number, &mut fields_of(payload)?),
                    _ => Some(Self::Other { number, payload }),
                }
            }

            fn of_fields(number: i64, fields: &mut Vec<(String, Value)>) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant { $($field: take(fields, $key)?),* }),)*
                    _ => None,
                }
            }

            /// A payload of every type, with zero values; for tests.
            #[cfg(test)]
            pub(crate) fn every() -> Vec<Self> {
                let numbers = [$($number),*];
                numbers.iter().filter_map(|number| Self::read(*number, Value::Null)).collect()
            }
        }
    };
}

payloads! {
    0 "connect" "Connect" Connect { remote_addr: String = "remoteAddr", country: String = "country" }
    1 "disconnect" "Disconnect" Disconnect {}
    2 "connection_ended" "Connection ended by the gateway" ConnectionEnded { reason: String = "reason" }
    100 "auth_password" "Password authentication"
        Password { username: String = "username", password: Bytes = "password" }
    101 "auth_password_successful" "Password authentication successful"
        PasswordSuccessful { username: String = "username", password: Bytes = "password" }
    102 "auth_password_failed" "Password authentication failed"
        PasswordFailed { username: String = "username", password: Bytes = "password" }
    103 "auth_password_backend_error" "Password authentication backend error"
        PasswordBackendError { username: String = "username", password: Bytes = "password", reason: String = "reason" }
    104 "auth_pubkey" "Public key authentication" PublicKey { username: String = "username", key: String = "key" }
    105 "auth_pubkey_successful" "Public key authentication successful"
        PublicKeySuccessful { username: String = "username", key: String = "key" }
    106 "auth_pubkey_failed" "Public key authentication failed"
        PublicKeyFailed { username: String = "username", key: String = "key" }
    107 "auth_pubkey_backend_error" "Public key authentication backend error"
        PublicKeyBackendError { username: String = "username", key: String = "key", reason: String = "reason" }
    108 "auth_keyboard_interactive_challenge" "Keyboard-interactive authentication challenge"
        Challenge {
            username: String = "username", instruction: String = "instruction", questions: Vec<Question> = "questions"
        }
    109 "auth_keyboard_interactive_answer" "Keyboard-interactive authentication answer"
        ChallengeAnswer { username: String = "username", answers: Vec<Answer> = "answers" }
    110 "auth_keyboard_interactive_failed" "Keyboard-interactive authentication failed"
        ChallengeFailed { username: String = "Username" }
    111 "auth_keyboard_interactive_backend_error" "Keyboard-interactive authentication backend error"
        ChallengeBackendError { username: String = "username", reason: String = "reason" }
    198 "invalid" "invalid" HandshakeFailed { reason: String = "reason" }
    199 "invalid" "invalid" HandshakeSuccessful { username: String = "username" }
    200 "global_request_unknown" "Unknown global request"
        GlobalRequestUnknown { request_type: String = "requestType" }
    201 "global_request_decode_failed" "Failed to decode global request"
        GlobalRequestDecodeFailed {
            request_id: u64 = "requestId", request_type: String = "requestType", payload: Bytes = "payload",
            reason: String = "reason"
        }
    202 "forward_tcpip" "Request reverse port forwarding"
        ForwardTcp { bind_host: String = "BindHost", bind_port: u32 = "BindPort" }
    203 "cancel_forward_tcpip" "Request to stop reverse port forwarding"
        CancelForwardTcp { bind_host: String = "BindHost", bind_port: u32 = "BindPort" }
    204 "forward_streamlocal" "Request reverse socket forwarding" ForwardUnix { path: String = "Path" }
    205 "cancel_forward_streamlocal" "Request to stop reverse socket forwarding"
        CancelForwardUnix { path: String = "Path" }
    300 "new_channel" "New channel request" NewChannel { channel_type: String = "channelType" }
    301 "new_channel_successful" "New channel successful" NewChannelSuccessful { channel_type: String = "channelType" }
    302 "new_channel_failed" "New channel failed"
        NewChannelFailed { channel_type: String = "channelType", reason: String = "reason" }
    303 "new_channel_direct_tcpip" "New client-to-server port forwarding channel"
        DirectTcp {
            host: String = "HostToConnect", port: u32 = "PortToConnect", originator_host: String = "OriginatorHost",
            originator_port: u32 = "OriginatorPort"
        }
    304 "new_channel_forwarded_tcpip" "New server-to-client port forwarding channel"
        ForwardedTcp {
            host: String = "ConnectedHost", port: u32 = "ConnectedPort", originator_host: String = "OriginatorHost",
            originator_port: u32 = "OriginatorPort"
        }
    305 "new_channel_x11" "New server-to-client X11 forwarding channel"
        X11Channel { originator_host: String = "OriginatorHost", originator_port: u32 = "OriginatorPort" }
    306 "new_channel_direct_streamlocal" "New client-to-server unix socket forwarding channel"
        DirectUnix { path: String = "Path" }
    307 "new_channel_forwarded_streamlocal" "New server-to-client unix socket forwarding channel"
        ForwardedUnix { path: String = "Path" }
    308 "new_channel_auth_agent" "New server-to-client SSH agent forwarding channel" AgentChannel {}
    400 "channel_request_unknown" "Unknown channel request"
        ChannelRequestUnknown {
            request_id: u64 = "requestId", request_type: String = "requestType", payload: Bytes = "payload"
        }
    401 "channel_request_decode_failed" "Failed to decode channel request"
        ChannelRequestDecodeFailed {
            request_id: u64 = "requestId", request_type: String = "requestType", payload: Bytes = "payload",
            reason: String = "reason"
        }
    402 "setenv" "Set environment variable"
        SetEnv { request_id: u64 = "requestId", name: String = "name", value: String = "value" }
    403 "exec" "Execute program" Exec { request_id: u64 = "requestId", program: String = "program" }
    404 "pty" "Request interactive terminal"
        Pty {
            request_id: u64 = "requestId", term: String = "term", columns: u32 = "columns", rows: u32 = "rows",
            width: u32 = "width", height: u32 = "height", modes: Bytes = "modelist"
        }
    405 "shell" "Run shell" Shell { request_id: u64 = "requestId" }
    406 "signal" "Send signal to running process" Signal { request_id: u64 = "requestId", signal: String = "signal" }
    407 "subsystem" "Request subsystem" Subsystem { request_id: u64 = "requestId", subsystem: String = "subsystem" }
    408 "window" "Change window size"
        Window {
            request_id: u64 = "requestId", columns: u32 = "columns", rows: u32 = "rows", width: u32 = "width",
            height: u32 = "height"
        }
    409 "x11-req" "Request X11 forwarding"
        X11Request {
            request_id: u64 = "requestId", single_connection: bool = "singleConnection",
            auth_protocol: String = "authProtocol", cookie: String = "cookie", screen: u32 = "screen"
        }
    410 "auth-agent-req" "Request SSH agent forwarding" AgentRequest { request_id: u64 = "requestId" }
    496 "close_write" "Close channel for writing" CloseWrite {}
    497 "close" "Close channel" Close {}
    498 "exit_signal" "Program exited with signal"
        ExitSignal {
            signal: String = "signal", core_dumped: bool = "coreDumped", error_message: String = "errorMessage",
            language_tag: String = "languageTag"
        }
    499 "exit" "Program exited" Exit { exit_status: u32 = "exitStatus" }
    500 "io" "I/O" Io { stream: u8 = "stream", data: Bytes = "data" }
    501 "request_failed" "Request failed" RequestFailed { request_id: u64 = "requestId", reason: String = "reason" }
}

/// A question of keyboard-interactive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub question: String,
    /// Set if the user sees the answer.
    pub echo: bool,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub question: String,
    pub answer: String,
}

impl Field for Question {
    fn to_value(&self) -> Value {
        map(vec![("question", self.question.to_value()), ("echo", self.echo.to_value())])
    }

    fn of_value(value: Value) -> Option<Self> {
        let mut fields = fields_of(value)?;
        Some(Self { question: take(&mut fields, "question")?, echo: take(&mut fields, "echo")? })
    }
}

impl Field for Answer {
    fn to_value(&self) -> Value {
        map(vec![("question", self.question.to_value()), ("answer", self.answer.to_value())])
    }

    fn of_value(value: Value) -> Option<Self> {
        let mut fields = fields_of(value)?;
        Some(Self { question: take(&mut fields, "question")?, answer: take(&mut fields, "answer")? })
    }
}

fn map(fields: Vec<(&str, Value)>) -> Value {
    if fields.is_empty() {
        return Value::Null;
    }
    Value::Map(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn fields_of(value: Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Map(fields) => Some(fields),
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

impl Message {
    /// An upper limit of the encoded length.
    pub(crate) fn size(&self) -> usize {
        self.to_value().size()
    }

    /// The message as a map, with its keys in ContainerSSH's order.
    pub(super) fn to_value(&self) -> Value {
        map(vec![
            ("connectionId", self.connection.to_value()),
            ("timestamp", self.timestamp.to_value()),
            ("type", self.payload.number().to_value()),
            ("payload", self.payload.to_value()),
            ("channelId", self.channel.map_or(Value::Null, |channel| channel.to_value())),
        ])
    }

    /// Reads a message. The id of ContainerSSH 0.3 is bytes, which become hexadecimal digits.
    ///
    /// # Errors
    /// A value has another type than the message's type says.
    pub(super) fn of_value(value: Value) -> Result<Self, WrongPayload> {
        let mut fields = fields_of(value).ok_or(WrongPayload(-1))?;
        let number = take::<i64>(&mut fields, "type").ok_or(WrongPayload(-1))?;
        let wrong = || WrongPayload(number);
        let connection = match take::<AnyValue>(&mut fields, "connectionId").map(|id| id.0) {
            Some(Value::Bytes(bytes)) => data_encoding::HEXLOWER.encode(&bytes),
            Some(value) => String::of_value(value).ok_or_else(wrong)?,
            None => String::new(),
        };
        let channel = match take::<AnyValue>(&mut fields, "channelId").map(|id| id.0) {
            None | Some(Value::Null | Value::Integer(-1)) => None,
            Some(value) => Some(u64::of_value(value).ok_or_else(wrong)?),
        };
        let payload = take::<AnyValue>(&mut fields, "payload").map_or(Value::Null, |payload| payload.0);
        Ok(Self {
            connection,
            timestamp: take(&mut fields, "timestamp").ok_or_else(wrong)?,
            channel,
            payload: Payload::of_value(number, payload)?,
        })
    }
}

/// A field of any type.
struct AnyValue(Value);

impl Field for AnyValue {
    fn to_value(&self) -> Value {
        self.0.clone()
    }

    fn of_value(value: Value) -> Option<Self> {
        Some(Self(value))
    }
}
