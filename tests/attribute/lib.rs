//! The attribute of an asynchronous test whose tasks run in parallel, as they do in the gateway.

use proc_macro::TokenStream;

const ATTRIBUTE: &str = r#"#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]"#;

/// Runs an `async fn` as a test, on a runtime with two threads.
#[proc_macro_attribute]
#[expect(clippy::expect_used, reason = "the text is a constant")]
pub fn multi_thread(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut test: TokenStream = ATTRIBUTE.parse().expect("an attribute");
    test.extend(item);
    test
}
