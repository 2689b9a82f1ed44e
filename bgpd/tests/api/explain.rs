//! What is explained, where more than one prefix could be meant.

use bgpd_proto::v1;

use super::daemon::{Daemon, wait_until};

const CONFIG: &str = "[global]\nasn = 65000\nrouter-id = \"192.0.2.1\"\nlisten = []\n\
                      [[originate]]\nprefix = \"10.1.0.0/16\"\n[[originate]]\nprefix = \"10.1.2.0/24\"\n\
                      [[originate]]\nprefix = \"2001:db8::/32\"\n";

async fn explained(daemon: &Daemon, prefix: &str) -> Result<String, String> {
    let wanted = v1::ExplainRequest { prefix: prefix.into(), to: String::new() };
    match daemon.routes().await.explain(wanted).await {
        Ok(answer) => Ok(answer.into_inner().prefix),
        Err(status) => Err(status.message().to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_explained_by_the_longest_prefix_that_covers_it() {
    let daemon = Daemon::start(CONFIG).await;
    for prefix in ["10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"] {
        let is_there = || async { explained(&daemon, prefix).await.as_deref() == Ok(prefix) };
        wait_until(&format!("{prefix} is there"), is_there).await;
    }
    for (address, prefix) in
        [("10.1.2.9", "10.1.2.0/24"), ("10.1.3.0", "10.1.0.0/16"), ("2001:db8::9", "2001:db8::/32")]
    {
        assert_eq!(explained(&daemon, address).await.as_deref(), Ok(prefix));
    }
    for (prefix, said) in [
        ("10.1.3.0/24", "a route to 10.1.3.0/24 does not exist; the longest prefix that covers it is 10.1.0.0/16"),
        ("10.0.0.0/8", "a route to 10.0.0.0/8 does not exist"),
        ("192.0.2.7", "a route to 192.0.2.7 does not exist"),
    ] {
        assert_eq!(explained(&daemon, prefix).await, Err(said.to_owned()));
    }
}
