//! Many sessions on one connection, none in another's way.

use crate::support::World;
use crate::support::client::Done;
use crate::support::flow::{MIB, drain, ended, feed, stalled, sum, whole};
use crate::support::master::Master;
use futures_util::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// An upload that runs, and its hash.
struct Upload {
    child: Child,
    sent: JoinHandle<String>,
    progress: watch::Receiver<usize>,
}

impl Upload {
    fn start(master: &Master<'_>, command: &str, bytes: usize) -> Self {
        let mut child = master.ssh().arg("127.0.0.1").arg(command).spawn();
        let (sender, progress) = watch::channel(0);
        let sent = tokio::spawn(feed(child.stdin.take().expect("a pipe"), bytes, sender));
        Self { child, sent, progress }
    }

    async fn ends_exact(mut self) {
        let mut printed = String::new();
        let mut output = self.child.stdout.take().expect("a pipe");
        let reading = output.read_to_string(&mut printed);
        timeout(crate::support::client::PATIENCE, reading).await.expect("a hash in time").expect("the output");
        ended(self.child).await.expect(0);
        assert_eq!(sum(&printed), self.sent.await.expect("the hash"));
    }
}

/// Runs a command beside other sessions. It never ends if it waits for one that stands still.
async fn beside(master: &Master<'_>, command: &str) -> Done {
    whole(async || (master.ssh().run(command).await, ())).await.0.expect(0)
}

#[podgate_test::multi_thread]
async fn thirty_sessions_at_once_and_one_after_another() {
    let world = World::start().await;
    let master = world.master(&[]).await;
    let at_once = (0..30).map(|number| {
        let client = master.ssh();
        async move { (number, client.stdin(format!("{number}")).run("cat; sleep 0.2; exit 3").await.expect(3)) }
    });
    for (number, done) in join_all(at_once).await {
        assert_eq!(done.text(), number.to_string());
    }
    for number in 0..30 {
        assert_eq!(master.ssh().run(&format!("echo {number}")).await.expect(0).text(), format!("{number}\n"));
    }
    assert_eq!(world.cluster.requests("create", "pods"), 1);
}

#[podgate_test::multi_thread]
async fn sessions_go_on_beside_a_stalled_upload_which_recovers() {
    let world = World::start().await;
    let master = world.master(&[]).await;
    let wait = "while [ ! -e go ]; do sleep 0.05; done; sha256sum";
    let mut first = Upload::start(&master, wait, 60 * MIB);
    stalled(&mut first.progress).await;
    assert_eq!(beside(&master, "echo beside").await.text(), "beside\n");
    let second = Upload::start(&master, "sha256sum", 20 * MIB);
    assert_eq!(beside(&master, "head -c 3000000 /dev/zero | wc -c").await.text(), "3000000\n");
    assert_eq!(beside(&master, "head -c 3000000 /dev/zero").await.stdout.len(), 3_000_000);
    beside(&master, "touch go").await;
    first.ends_exact().await;
    second.ends_exact().await;
    assert!(world.gateway.peak_memory() < 62_500, "{} KiB", world.gateway.peak_memory());
}

#[podgate_test::multi_thread]
async fn output_that_nobody_reads_stops_no_other() {
    let world = World::start().await;
    let master = world.master(&[]).await;
    let (done, rest) = whole(async || {
        let mut unread = master.ssh().arg("127.0.0.1").arg(format!("head -c {} /dev/zero; exit 2", 60 * MIB)).spawn();
        let mut output = unread.stdout.take().expect("a pipe");
        // It runs: the rest stays unread.
        output.read_u8().await.expect("a byte");
        assert_eq!(beside(&master, &format!("head -c {} /dev/zero", 20 * MIB)).await.stdout.len(), 20 * MIB);
        Upload::start(&master, "sha256sum", 20 * MIB).ends_exact().await;
        let (rest, _) = drain(output).await;
        (ended(unread).await, rest)
    })
    .await;
    done.expect(2);
    assert_eq!(rest, 60 * MIB - 1);
    assert!(world.gateway.peak_memory() < 62_500, "{} KiB", world.gateway.peak_memory());
}

#[podgate_test::multi_thread]
async fn new_keys_under_many_uploads_and_downloads_harm_nothing() {
    let world = World::start().await;
    let master = world.master(&["RekeyLimit=1M"]).await;
    let uploads: Vec<Upload> = (0..6).map(|_| Upload::start(&master, "sha256sum", 12 * MIB)).collect();
    // Input that ends behind its program's end can cost the end of its output on a real node, which resets the stream then.
    let count = "cat; seq -w 1 1600000";
    let downloads = (0..2).map(|_| async { beside(&master, count).await.stdout });
    let (downloads, _) = tokio::join!(join_all(downloads), join_all(uploads.into_iter().map(Upload::ends_exact)));
    let numbers: String = (1..=1_600_000).map(|number| format!("{number:07}\n")).collect();
    for numbers_come in downloads {
        // The place of a missing piece shows which side lost it.
        let same = numbers_come.iter().zip(numbers.as_bytes()).take_while(|(came, sent)| came == sent).count();
        assert_eq!((same, numbers_come.len()), (numbers.len(), numbers.len()));
    }
    assert_eq!(world.cluster.requests("create", "pods"), 1);
}

#[podgate_test::multi_thread]
async fn new_keys_by_the_clock_under_many_uploads_and_downloads_harm_nothing() {
    let world = World::start().await;
    let told = world.folder().join("master.log");
    let arguments = ["-v", "-E", told.to_str().expect("a path")];
    let master = world.master_with(&["RekeyLimit=default 1s"], &arguments).await;
    let exchanges = || {
        let log = std::fs::read_to_string(&told).expect("the master's log");
        (log.matches("SSH2_MSG_NEWKEYS sent").count(), log)
    };
    assert_eq!(exchanges().0, 1, "{}", exchanges().1);
    // The first keys, and three times new ones.
    while exchanges().0 < 4 {
        let uploads = (0..6).map(|_| Upload::start(&master, "sha256sum", 2 * MIB).ends_exact());
        let downloads = (0..2).map(|_| async { beside(&master, "seq -w 1 300000").await.stdout });
        let (_, downloads) = tokio::join!(join_all(uploads), join_all(downloads));
        let numbers: String = (1..=300_000).map(|number| format!("{number:06}\n")).collect();
        assert!(downloads.iter().all(|came| came == numbers.as_bytes()));
    }
}
