//! Metrics in the OpenMetrics text format, read afresh for each scrape.
//!
//! Labels are bounded: neighbors up to a limit, families, and words from lists that stand here. Neighbors beyond the
//! limit have no series of their own; they are in the sums by state, and `bgpd_neighbors_without_series` counts them.

mod load;
mod process;
mod rpki;
mod server;

use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bgp_engine::session::State;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::load::Load;
use self::process::Process;
use self::rpki::Rpki;
pub use self::server::{MetricsError, Server};
use super::latency::Reading;
use crate::runtime::handle::{ControlError, Handle};
use crate::runtime::status::{MessageCounts, NeighborStatus, Status};

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// The text that a monitoring system reads. At most `neighbor_limit` neighbors have series of their own.
///
/// # Errors
/// When the speaker is stopping.
pub async fn page(handle: &Handle, neighbor_limit: usize) -> Result<String, ControlError> {
    let status = handle.status().await?;
    let mut neighbors = handle.neighbors().await;
    let states = State::ALL.map(|state| (state, neighbors.iter().filter(|one| one.state == state).count() as u64));
    let slow = neighbors.iter().filter(|one| one.slow).count() as u64;
    let without_series = neighbors.len().saturating_sub(neighbor_limit) as u64;
    neighbors.truncate(neighbor_limit);
    let latencies = handle.latencies();
    let readings = vec![
        ("bgpd_intake_seconds", "Read of a burst to the tables having taken it", latencies.intake.read()),
        ("bgpd_propagation_seconds", "Read of a burst to its last change in the queues", latencies.propagation.read()),
        ("bgpd_convergence_in_seconds", "Established to End-of-RIB received", latencies.convergence_in.read()),
        ("bgpd_convergence_out_seconds", "Established to End-of-RIB queued", latencies.convergence_out.read()),
    ];
    let rpki = Rpki::read(handle);
    let process = Process::read();
    let load = Load::read(handle, &status);
    let page = Page { status, neighbors, states, slow, without_series, readings, rpki, process, load };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(page));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = text::encode(&mut out, &registry);
    Ok(out)
}

/// Everything that one scrape says.
#[derive(Debug)]
struct Page {
    status: Status,
    neighbors: Vec<NeighborStatus>,
    states: [(State, u64); 6],
    slow: u64,
    without_series: u64,
    readings: Vec<(&'static str, &'static str, Reading)>,
    rpki: Rpki,
    process: Process,
    load: Load,
}

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Out(encoder);
        self.speaker(&mut out)?;
        self.process(&mut out)?;
        self.load.encode(&mut out)?;
        self.sessions(&mut out)?;
        self.rpki.encode(&mut out)?;
        self.traffic(&mut out)?;
        self.readings.iter().try_for_each(|(name, help, reading)| out.histogram(name, help, reading))
    }
}

impl Page {
    fn speaker(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let status = &self.status;
        out.info("bgpd_build", "The program", &[("version", status.version)])?;
        out.value("bgpd_uptime_seconds", "Time since bgpd started", since(status.started).as_secs_f64())?;
        out.counters("bgpd_log_suppressed", "Log lines counted instead of written", |out| {
            out.put(NONE, crate::observe::log::levels().suppressed() as f64)
        })?;
        out.value("bgpd_attribute_sets", "Distinct sets of path attributes in memory", status.attribute_sets as f64)?;
        out.value("bgpd_awaited_neighbors", "Neighbors waited for after a restart", status.awaited.len() as f64)?;
        let names: Vec<_> = status.tables.iter().map(|(family, counts)| (family.to_string(), counts)).collect();
        out.gauges("bgpd_prefixes", "Destinations in the table", |out| {
            names.iter().try_for_each(|(family, counts)| out.put([("family", family)], counts.prefixes as f64))
        })?;
        out.gauges("bgpd_paths", "Paths to the destinations in the table", |out| {
            names.iter().try_for_each(|(family, counts)| out.put([("family", family)], counts.paths as f64))
        })
    }

    fn process(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let Process { resident_bytes, open_fds, cpu_seconds } = self.process;
        out.value("process_resident_memory_bytes", "Memory that the process has", resident_bytes as f64)?;
        out.value("process_open_fds", "Descriptors that the process has open", open_fds as f64)?;
        let started = self.status.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        out.value("process_start_time_seconds", "When the process started", started.as_secs_f64())?;
        out.counters("process_cpu_seconds", "Processor time used", |out| out.put(NONE, cpu_seconds))
    }

    fn sessions(&self, out: &mut Out<'_>) -> Result<(), Error> {
        out.gauges("bgpd_neighbors", "Neighbors by state of their session", |out| {
            self.states.iter().try_for_each(|(state, count)| out.put([("state", state.to_string())], *count as f64))
        })?;
        out.value("bgpd_slow_neighbors", "Neighbors that take updates slower than they come", self.slow as f64)?;
        let help = "Neighbors beyond [metrics] neighbor-limit";
        out.value("bgpd_neighbors_without_series", help, self.without_series as f64)?;
        out.gauges("bgpd_neighbor_up", "1 while the session is Established", |out| {
            self.each(|one, name| {
                let asn = one.asn.to_string();
                let group = one.peer_group.as_deref().unwrap_or_default();
                let up = one.state == State::Established;
                out.put([("neighbor", name), ("asn", &asn), ("peer_group", group)], f64::from(u8::from(up)))
            })
        })?;
        out.gauges("bgpd_neighbor_state_seconds", "Time since the session came up or went down", |out| {
            self.each(|one, name| out.put([("neighbor", name)], since(one.since).as_secs_f64()))
        })?;
        out.counters("bgpd_neighbor_established", "Times that the session came up", |out| {
            self.each(|one, name| out.put([("neighbor", name)], one.established_count as f64))
        })?;
        out.counters("bgpd_neighbor_flaps", "Times that an Established session ended", |out| {
            self.each(|one, name| out.put([("neighbor", name)], one.flaps as f64))
        })?;
        out.gauges("bgpd_neighbor_queue_bytes", "Octets that wait to be written", |out| {
            self.each(|one, name| out.put([("neighbor", name)], one.queued_bytes as f64))
        })?;
        out.gauges("bgpd_neighbor_slow", "1 while the neighbor takes updates slower than they come", |out| {
            self.each(|one, name| out.put([("neighbor", name)], f64::from(u8::from(one.slow))))
        })
    }

    fn traffic(&self, out: &mut Out<'_>) -> Result<(), Error> {
        out.gauges("bgpd_neighbor_prefixes", "Prefixes by family and table", |out| {
            self.each(|one, name| {
                one.prefixes.iter().try_for_each(|(family, counts)| {
                    let family = family.to_string();
                    let tables = [
                        ("received", counts.received),
                        ("accepted", counts.accepted),
                        ("advertised", counts.advertised),
                        ("stale", counts.stale),
                    ];
                    tables.into_iter().try_for_each(|(table, count)| {
                        out.put([("neighbor", name), ("family", &family), ("table", table)], count as f64)
                    })
                })
            })
        })?;
        out.counters("bgpd_neighbor_messages", "Messages by direction and type", |out| {
            self.each_direction(|name, direction, counts| {
                by_type(counts).into_iter().try_for_each(|(kind, count)| {
                    out.put([("neighbor", name), ("direction", direction), ("type", kind)], count as f64)
                })
            })
        })?;
        out.counters("bgpd_neighbor_message_bytes", "Octets of messages by direction", |out| {
            self.each_direction(|name, direction, counts| {
                out.put([("neighbor", name), ("direction", direction)], counts.bytes as f64)
            })
        })?;
        out.counters("bgpd_neighbor_malformed", "Malformed messages by what was done (RFC 7606)", |out| {
            self.each(|one, name| {
                let verdicts = [
                    ("treat-as-withdraw", one.malformed.treat_as_withdraw),
                    ("attribute-discard", one.malformed.attribute_discard),
                    ("afi-safi-disable", one.malformed.afi_safi_disable),
                    ("session-reset", one.malformed.session_reset),
                ];
                let put = |(verdict, count)| out.put([("neighbor", name), ("verdict", verdict)], count as f64);
                verdicts.into_iter().try_for_each(put)
            })
        })
    }

    fn each(&self, mut put: impl FnMut(&NeighborStatus, &str) -> Result<(), Error>) -> Result<(), Error> {
        self.neighbors.iter().try_for_each(|one| put(one, &one.address.to_string()))
    }

    fn each_direction(
        &self,
        mut put: impl FnMut(&str, &'static str, &MessageCounts) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each(|one, name| {
            put(name, "received", &one.messages.received)?;
            put(name, "sent", &one.messages.sent)
        })
    }
}

fn by_type(counts: &MessageCounts) -> BTreeMap<&'static str, u64> {
    BTreeMap::from([
        ("open", counts.open),
        ("update", counts.update),
        ("notification", counts.notification),
        ("keepalive", counts.keepalive),
        ("route-refresh", counts.route_refresh),
    ])
}

fn since(time: SystemTime) -> Duration {
    // A clock that was set back makes it zero.
    time.elapsed().unwrap_or_default()
}

/// Where metrics go.
struct Out<'a>(DescriptorEncoder<'a>);

/// Where the values of one metric go.
struct Series<'a> {
    encoder: MetricEncoder<'a>,
    is_counter: bool,
}

impl Out<'_> {
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl FnOnce(&mut Series<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values(&mut Series { encoder, is_counter: false })
    }

    /// The name is without the `_total` of each series.
    fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl FnOnce(&mut Series<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values(&mut Series { encoder, is_counter: true })
    }

    fn value(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.gauges(name, help, |out| out.put(NONE, value))
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &str)]) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn histogram(&mut self, name: &str, help: &str, reading: &Reading) -> Result<(), Error> {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(reading.seconds, reading.count, &reading.buckets, None)
    }
}

impl Series<'_> {
    fn put(&mut self, labels: impl EncodeLabelSet, value: f64) -> Result<(), Error> {
        let mut encoder = self.encoder.encode_family(&labels)?;
        if self.is_counter {
            encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None)
        } else {
            encoder.encode_gauge(&value)
        }
    }
}
