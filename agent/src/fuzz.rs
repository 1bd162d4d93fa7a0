//! Everything in the agent that parses what a client or a gateway made, as functions of bytes that panic where something does
//! not hold that must. For the fuzzer of the workspace (feature `fuzzing`) and a short run of the same in its tests.

/// Requests of an SFTP client.
pub fn sftp(data: &[u8]) {
    crate::sftp::fuzz(data);
}

/// Packets of ContainerSSH's gateway.
pub fn forward_server(data: &[u8]) {
    crate::forward_server::fuzz(data);
}

/// Lines of scp's old protocol.
pub fn scp(data: &[u8]) {
    crate::scp::fuzz(data);
}
