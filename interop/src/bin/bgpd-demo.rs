//! The README's demonstration: a reflector between FRR, BIRD and GoBGP nodes, each with a pod, in network namespaces
//! of this machine. Shows what `bgpctl` says and that the pods reach each other; then waits, or with `--once` ends.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use interop::lab::cluster::Cluster;
use interop::lab::{build_bgpd, wait_until};

fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    println!("building bgpd and bgpctl ...");
    let programs = build_bgpd();
    println!(
        "starting a reflector (192.0.2.1), FRR (.11), BIRD (.12) and GoBGP (.13), each in a namespace of its own ..."
    );
    let cluster = Cluster::start();
    let all_reflected = || cluster.bgpd.routes().len() == 6 && cluster.pods[0].reaches(&cluster.pods[1]);
    wait_until("the nodes know each other's pods", all_reflected, || cluster.bgpd.picture());
    // Long enough for the last End-of-RIB, so that what is shown is the whole picture.
    thread::sleep(Duration::from_secs(1));
    for command in [vec!["show", "neighbors"], vec!["show", "routes"], vec!["explain", "10.1.11.0/24"]] {
        println!("\n$ bgpctl {}\n{}", command.join(" "), cluster.bgpd.ctl(&command));
    }
    let (from, to) = (&cluster.pods[0], &cluster.pods[1]);
    println!("$ ping {}    # from the pod behind FRR, {}, to the one behind BIRD", to.ipv4, from.ipv4);
    print!("{}", from.namespace.run_ok(&["ping", "-c3", "-i0.2", "-n", &to.ipv4.to_string()]));
    if once {
        return;
    }
    let socket = cluster.nodes[0].dir.join("bgpd.sock");
    println!("\nThe lab runs until you press Enter. In another terminal (as root):");
    println!("  export BGPCTL_SERVER=unix:{}", socket.display());
    println!("  {}/bgpctl show neighbors 192.0.2.11", programs.display());
    println!("  {}/bgpctl watch routes", programs.display());
    // Whatever ends the wait ends the lab.
    let _ = io::stdin().lock().read_line(&mut String::new());
}
