//! The subcommands for operators: each asks a running gateway over its socket and prints the answer. Exit status 77: no
//! permission; 69: no gateway there, or no answer; 1: the gateway refuses; 64: no socket is configured.

use super::{PROMPT_NAME, invalid, print, print_line};
use podgate::{AdminClientError, admin_socket, answer_text, ask_gateway, printable};
use serde_json::{Value, json};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Limit of a program in the table, in characters.
const PROGRAM: usize = 80;
/// Characters of an id in the table: enough for a command.
const SHORT_ID: usize = 12;

/// The gateway that is asked.
#[derive(Debug, clap::Args)]
pub(super) struct GatewayArgs {
    /// The gateway's configuration file, which names the socket.
    #[arg(long, value_name = "FILE", default_value = "config.yaml")]
    config: PathBuf,
    /// The gateway's socket (admin.socket). With it, no configuration is read.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Prints the gateway's answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum OperatorCommand {
    /// Lists the connections of a running gateway: user, address, pod, programs, bytes and idle time.
    Sessions {
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Shows a line at the terminals of a connection.
    Message {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The connection's id, or its beginning.
        id: String,
        /// The text.
        text: String,
    },
    /// Ends a connection: its sessions read the reason.
    End {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The connection's id, or its beginning.
        id: String,
        /// The reason for the user.
        reason: Option<String>,
    },
    /// Has a gateway drain and end, as SIGTERM does.
    Drain {
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Has a gateway read its configuration again, as SIGHUP does, and tells what came of it. Exit status 1: it has mistakes,
    /// and nothing of it is in force.
    Reload {
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Lists the locked users.
    Locks {
        #[command(flatten)]
        gateway: GatewayArgs,
    },
    /// Ends the connections of a user and refuses further ones, also after a restart.
    Lock {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The authenticatedUsername.
        user: String,
        /// The reason for the user.
        reason: Option<String>,
    },
    /// Lets a locked user log in again.
    Unlock {
        #[command(flatten)]
        gateway: GatewayArgs,
        /// The authenticatedUsername.
        user: String,
    },
}

/// Asks the gateway, and prints its answer.
pub(super) async fn operate(command: OperatorCommand) -> ExitCode {
    let (gateway, path, body) = request(&command);
    let socket = match &gateway.socket {
        Some(socket) => socket.clone(),
        None => match admin_socket(&gateway.config) {
            Ok(Some(socket)) => socket,
            Ok(None) => {
                let text = "admin.socket is not set: the gateway takes no orders";
                print_line(&mut io::stderr(), &format!("podgate: {}: {text}", gateway.config.display()));
                return ExitCode::from(64);
            }
            Err(errors) => {
                let code = invalid(&gateway.config, &errors);
                let text =
                    "podgate: the gateway was not asked: name its socket with --socket, which needs no configuration";
                print_line(&mut io::stderr(), text);
                return code;
            }
        },
    };
    match ask_gateway(&socket, &path, body.as_ref()).await {
        Ok(answer) if answer["applied"] == false => refused(gateway, &answer),
        Ok(answer) if gateway.json => print(&(answer_text(&answer) + "\n")),
        Ok(answer) => print(&shown(&command, &answer)),
        Err(error) => {
            print_line(&mut io::stderr(), &format!("podgate: {}", printable(&error.to_string(), 2000)));
            ExitCode::from(match error {
                AdminClientError::NoPermission(_) => 77,
                AdminClientError::Refused(_) => 1,
                _ => 69,
            })
        }
    }
}

fn request(command: &OperatorCommand) -> (&GatewayArgs, String, Option<Value>) {
    match command {
        OperatorCommand::Sessions { gateway } => (gateway, "/sessions".to_owned(), None),
        OperatorCommand::Message { gateway, id, text } => {
            (gateway, format!("/sessions/{}/message", id_in_path(id)), Some(json!({"text": text})))
        }
        OperatorCommand::End { gateway, id, reason } => {
            (gateway, format!("/sessions/{}/end", id_in_path(id)), Some(json!({"reason": reason})))
        }
        OperatorCommand::Drain { gateway } => (gateway, "/drain".to_owned(), Some(json!({}))),
        OperatorCommand::Reload { gateway } => (gateway, "/reload".to_owned(), Some(json!({}))),
        OperatorCommand::Locks { gateway } => (gateway, "/locks".to_owned(), None),
        OperatorCommand::Lock { gateway, user, reason } => {
            (gateway, "/lock".to_owned(), Some(json!({"user": user, "reason": reason})))
        }
        OperatorCommand::Unlock { gateway, user } => (gateway, "/unlock".to_owned(), Some(json!({"user": user}))),
    }
}

/// An id as a part of a path; what is no id stays unknown to the gateway.
fn id_in_path(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn shown(command: &OperatorCommand, answer: &Value) -> String {
    match command {
        OperatorCommand::Sessions { .. } => sessions(answer),
        OperatorCommand::Message { .. } => format!("shown at {} terminals\n", answer["terminals"]),
        OperatorCommand::End { .. } => format!("{} ends\n", text(&answer["id"])),
        OperatorCommand::Drain { .. } if answer["begins"] == false => "the gateway drains already\n".to_owned(),
        OperatorCommand::Drain { .. } => {
            format!("the gateway drains; {} connections are open\n", answer["connections"])
        }
        OperatorCommand::Reload { .. } => reloaded(answer),
        OperatorCommand::Locks { .. } => locks(answer),
        OperatorCommand::Lock { .. } => {
            format!("{} is locked; {} connections end\n", text(&answer["user"]), answer["ended"])
        }
        OperatorCommand::Unlock { .. } => format!("{} is not locked any more\n", text(&answer["user"])),
    }
}

/// Prints what is wrong with a configuration that the gateway did not take.
fn refused(gateway: &GatewayArgs, answer: &Value) -> ExitCode {
    if gateway.json {
        print(&(answer_text(answer) + "\n"));
        return ExitCode::FAILURE;
    }
    print_line(&mut io::stderr(), "podgate: the gateway goes on with its old configuration; the new one is not valid");
    for mistake in answer["mistakes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        print_line(&mut io::stderr(), &printable(mistake, 2000));
    }
    ExitCode::FAILURE
}

fn reloaded(answer: &Value) -> String {
    let lines = |list: &str, head: &str| {
        let texts = answer[list].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| format!("{head}: {}\n", printable(text, 2000))).collect::<String>()
    };
    [
        lines("warnings", "warning"),
        "the configuration is in force\n".to_owned(),
        lines("changed", "changed"),
        lines("nextStart", "takes effect at the next start"),
    ]
    .concat()
}

/// A value of the answer in printable characters.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), |text| printable(text, PROMPT_NAME))
}

fn sessions(answer: &Value) -> String {
    let head = ["ID", "USER", "FROM", "SINCE", "POD", "IDLE", "IN", "OUT", "RUNS"].map(str::to_owned);
    let rows = answer["sessions"].as_array().into_iter().flatten().map(|session| {
        let programs = session["programs"].as_array().into_iter().flatten();
        let programs = programs.map(|program| {
            let at = if program["terminal"] == true { " (terminal)" } else { "" };
            printable(program["program"].as_str().unwrap_or_default(), PROGRAM) + at
        });
        let number = |key: &str, unit: &str| session[key].as_u64().map_or("-".to_owned(), |n| format!("{n}{unit}"));
        let user = if session["authenticatedUsername"].is_string() { "authenticatedUsername" } else { "username" };
        [
            text(&session["id"]).chars().take(SHORT_ID).collect(),
            text(&session[user]),
            text(&session["remoteAddr"]),
            text(&session["since"]),
            text(&session["pod"]),
            number("idleSeconds", "s"),
            number("bytesReceived", ""),
            number("bytesSent", ""),
            programs.collect::<Vec<_>>().join("; "),
        ]
    });
    table(&[head].into_iter().chain(rows).collect::<Vec<_>>())
}

fn locks(answer: &Value) -> String {
    let head = ["USER", "SINCE", "REASON"].map(str::to_owned);
    let rows = answer["locks"].as_array().into_iter().flatten();
    let rows = rows.map(|lock| [text(&lock["user"]), text(&lock["since"]), text(&lock["reason"])]);
    table(&[head].into_iter().chain(rows).collect::<Vec<_>>())
}

/// Writes rows with columns of equal width.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
