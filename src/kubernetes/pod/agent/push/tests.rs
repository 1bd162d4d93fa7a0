//! The script under the shells of this machine, and the dialogue with it: denials first, and no file is left.

use super::*;
use crate::guest::{InputClosed, Refusal};
use crate::policy::{Permit, SendSignal};
use crate::types::Size;
use futures_util::future::BoxFuture;
use std::future::ready;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// An agent that answers `--help`, removes itself, says `up` and echoes what it reads.
const AGENT: &str =
    "#!/bin/sh\ncase $1 in --help) exit 0;; esac\nd=$PWD\nrm \"$0\"\ncd /\nrmdir \"$d\"\necho up\nexec cat\n";

struct Input(Option<ChildStdin>);

impl ProgramInput for Input {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            let Some(input) = &mut self.0 else { return Err(InputClosed) };
            input.write_all(&data).await.map_err(|_gone| InputClosed)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0 = None;
        Box::pin(ready(Ok(())))
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(ready(Ok(())))
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(ready(Err(Refusal::new("no signals"))))
    }
}

struct Output(ChildStdout, Child);

impl ProgramOutput for Output {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            let mut piece = vec![0; 1024];
            match self.0.read(&mut piece).await {
                Ok(length @ 1..) => OutputEvent::Stdout(Bytes::copy_from_slice(&piece[..length])),
                Ok(0) | Err(_) => {
                    let status = self.1.wait().await.unwrap().code().unwrap_or(255);
                    OutputEvent::Exit(Exit::Status(u8::try_from(status).unwrap()))
                }
            }
        })
    }
}

/// Starts the script under a shell, with nothing but `folder` to write in, and `tools` as `PATH`.
fn start(shell: &[&str], file: &AgentFile, folder: &Path, tools: &str) -> Program {
    // Only a place of the test's own, so that nothing is left on the machine.
    let mut argv = command("agent", file);
    argv[2] = argv[2].replace("/tmp /dev/shm /var/tmp /run", "");
    let mut command = Command::new(shell[0]);
    command
        .args(&shell[1..])
        .args(&argv[1..])
        .env_clear()
        .env("PATH", tools)
        .env("TMPDIR", folder)
        .current_dir("/proc");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    podgate_devcluster::leash(command.as_std_mut()).unwrap();
    let mut child = command.spawn().unwrap();
    let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
    Program { input: Box::new(Input(input)), output: Box::new(Output(output, child)) }
}

/// The shells of this machine.
const SHELLS: [&[&str]; 4] = [&["/bin/sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];

fn there() -> impl Iterator<Item = &'static [&'static str]> {
    let answers = |shell: &&[&str]| {
        let mut command = std::process::Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", ":"]).output().is_ok_and(|done| done.status.success())
    };
    SHELLS.into_iter().filter(answers)
}

fn agent(text: &str) -> AgentFile {
    // Longer than a pipe, so that whoever reads too little leaves something in it.
    AgentFile::for_test(format!("{text}#{}", "x".repeat(300_000)).into_bytes())
}

fn left(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

async fn pushed(shell: &[&str], file: &AgentFile, folder: &Path, tools: &str) -> Result<(Program, Bytes), PushError> {
    push(start(shell, file, folder, tools), file).await
}

const TOOLS: &str = "/usr/bin:/bin";

#[tokio::test]
async fn container_without_a_place_is_told() {
    for shell in there() {
        let gone = Path::new("/nonexistent");
        let error = pushed(shell, &agent(AGENT), gone, TOOLS).await.err();
        assert_eq!(error, Some(PushError::Nowhere), "{shell:?}");
    }
}

#[tokio::test]
async fn agent_that_does_not_run_is_told_and_nothing_is_left() {
    for shell in there() {
        let folder = tempfile::tempdir().unwrap();
        let error = pushed(shell, &agent("#!/bin/sh\nexit 5\n"), folder.path(), TOOLS).await.err();
        assert_eq!(error, Some(PushError::Unusable), "{shell:?}");
        // The mark comes before the file is removed.
        let removed = async {
            while !left(folder.path()).is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), removed).await.expect("the file is removed");
    }
}

#[tokio::test]
async fn file_of_somebody_else_is_never_written() {
    for shell in there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("agent"), "theirs").unwrap();
        let error = pushed(shell, &agent(AGENT), folder.path(), TOOLS).await.err();
        assert_eq!(error, Some(PushError::Nowhere), "{shell:?}");
        assert_eq!(std::fs::read(folder.path().join("agent")).unwrap(), b"theirs");
    }
}

/// Somebody who may write where the folder is made exchanges it between its making and the script's entering it.
#[tokio::test]
async fn folder_that_is_not_the_script_s_own_is_not_used() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    // busybox has a mkdir of its own, which this test cannot come between.
    for shell in there().filter(|shell| shell[0] != "busybox") {
        let (folder, theirs, tools) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Only root can give a folder away; for others, the root folder is somebody else's.
        let other = if chown(theirs.path(), Some(65534), None).is_ok() { theirs.path() } else { Path::new("/") };
        for name in ["head", "rm", "chmod", "cat", "rmdir", "uname", "dash", "bash", "busybox"] {
            symlink(format!("/bin/{name}"), tools.path().join(name)).unwrap();
        }
        let mkdir = tools.path().join("mkdir");
        let script =
            format!("#!/bin/sh\n/bin/mkdir \"$@\"\n/bin/rmdir \"$3\"\n/bin/ln -s {} \"$3\"\n", other.display());
        std::fs::write(&mkdir, script).unwrap();
        std::fs::set_permissions(&mkdir, PermissionsExt::from_mode(0o755)).unwrap();
        let error = pushed(shell, &agent(AGENT), folder.path(), tools.path().to_str().unwrap()).await.err();
        assert_eq!(error, Some(PushError::Nowhere), "{shell:?}");
        assert!(left(theirs.path()).is_empty(), "{shell:?}");
    }
}

/// Somebody who may write where the folder is made exchanges it while the file is on its way.
#[tokio::test]
async fn agent_that_starts_is_the_pushed_one_though_another_stands_in_its_place() {
    use std::os::unix::fs::PermissionsExt;
    for shell in there() {
        let (folder, aside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = agent(AGENT);
        let Program { mut input, mut output } = start(shell, &file, folder.path(), TOOLS);
        let mut marks = Marks { output: output.as_mut(), before: BytesMut::new() };
        marks.next().await.unwrap();
        assert_eq!(send(input.as_mut(), &file.content, &mut marks).await.as_deref(), Ok("written"), "{shell:?}");
        let mut made = folder.path().join("agent");
        let is_folder = made.is_dir();
        std::fs::rename(&made, aside.path().join("moved")).unwrap();
        if is_folder {
            std::fs::create_dir(&made).unwrap();
            made.push("agent");
        }
        std::fs::write(&made, "#!/bin/sh\necho evil\n").unwrap();
        std::fs::set_permissions(&made, PermissionsExt::from_mode(0o755)).unwrap();
        input.write(BytesMut::from(START)).await.unwrap();
        input.close().await.unwrap();
        let mut said = BytesMut::new();
        while let OutputEvent::Stdout(piece) = output.next().await {
            said.extend_from_slice(&piece);
        }
        assert_eq!(said, "up\n", "{shell:?}");
    }
}

#[tokio::test]
async fn push_that_is_given_up_in_its_middle_leaves_nothing() {
    for shell in there() {
        let folder = tempfile::tempdir().unwrap();
        let file = agent(AGENT);
        let Program { mut input, mut output } = start(shell, &file, folder.path(), TOOLS);
        let mut marks = Marks { output: output.as_mut(), before: BytesMut::new() };
        assert!(marks.next().await.unwrap().starts_with("ready"), "{shell:?}");
        assert_eq!(left(folder.path()).len(), 1);
        input.write(BytesMut::from(&file.content[..1000])).await.unwrap();
        input.close().await.unwrap();
        while !matches!(output.next().await, OutputEvent::Exit(_)) {}
        assert!(left(folder.path()).is_empty(), "{shell:?}");
    }
}

#[tokio::test]
async fn gateway_that_is_gone_before_it_says_start_leaves_nothing() {
    for shell in there() {
        let folder = tempfile::tempdir().unwrap();
        let file = agent(AGENT);
        let Program { mut input, mut output } = start(shell, &file, folder.path(), TOOLS);
        let mut marks = Marks { output: output.as_mut(), before: BytesMut::new() };
        marks.next().await.unwrap();
        assert_eq!(send(input.as_mut(), &file.content, &mut marks).await.as_deref(), Ok("written"), "{shell:?}");
        input.close().await.unwrap();
        while !matches!(output.next().await, OutputEvent::Exit(_)) {}
        assert!(left(folder.path()).is_empty(), "{shell:?}");
    }
}

#[tokio::test]
async fn agent_starts_and_reads_every_byte_behind_its_start() {
    for shell in there() {
        let folder = tempfile::tempdir().unwrap();
        let (Program { mut input, mut output }, first) =
            pushed(shell, &agent(AGENT), folder.path(), TOOLS).await.ok().unwrap();
        input.write(BytesMut::from(&b"hello"[..])).await.unwrap();
        input.close().await.unwrap();
        let mut said = BytesMut::from(&first[..]);
        while let OutputEvent::Stdout(piece) = output.next().await {
            said.extend_from_slice(&piece);
        }
        assert_eq!(said, "up\nhello", "{shell:?}");
        assert!(left(folder.path()).is_empty(), "{shell:?}");
    }
}

#[tokio::test]
async fn image_without_head_takes_the_file_by_dd() {
    let tools = tempfile::tempdir().unwrap();
    for name in ["dd", "rm", "chmod", "cat", "mkdir", "rmdir"] {
        std::os::unix::fs::symlink(format!("/bin/{name}"), tools.path().join(name)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let tools = tools.path().to_str().unwrap();
    let (Program { mut output, .. }, first) =
        pushed(&["/bin/sh"], &agent(AGENT), folder.path(), tools).await.ok().unwrap();
    let first = if first.is_empty() { output.next().await } else { OutputEvent::Stdout(first) };
    assert_eq!(first, OutputEvent::Stdout(Bytes::from_static(b"up\n")));
}

#[tokio::test]
async fn noise_before_a_mark_is_bounded() {
    let noisy = ["/bin/sh", "-c", "head -c 100000 /dev/zero; sleep 60"];
    let mut command = Command::new(noisy[0]);
    command.args(&noisy[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    podgate_devcluster::leash(command.as_std_mut()).unwrap();
    let mut child = command.spawn().unwrap();
    let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
    let program = Program { input: Box::new(Input(input)), output: Box::new(Output(output, child)) };
    assert_eq!(push(program, &agent(AGENT)).await.err(), Some(PushError::Strange));
}
