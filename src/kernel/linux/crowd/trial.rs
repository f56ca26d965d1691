//! One trial: flows from many namespaces to many, all in flight at once, each answered or seen refused.
//!
//! TCP connects to a listening socket, UDP is echoed, SCTP is an INIT that an INIT-ACK answers. Packets cross veth pairs
//! and the router inside the system call that sends them, so most answers are there when the last is sent. What
//! is not answered is looked for among what the router's watch saw refused, and sent again now and then; what is neither
//! within [`BOUND`] is lost.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use socket2::{SockAddr, Socket, Type};

use super::sctp::{self, Heard};
use super::{Crowd, Use, domain, served};
use crate::kernel::Error;
use crate::kernel::linux::{Linux, reading};
use crate::model::{Family, Proto};

/// After this a flow that nobody saw is lost.
const BOUND: Duration = Duration::from_secs(4);

/// Flows at once: their descriptors and numbers must suffice.
const AT_ONCE: usize = 600;

/// Between two looks for what was sent already.
const PUMP: usize = 64;

/// When what is not answered is sent again; TCP does that itself after a second.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(600),
    Duration::from_millis(1500),
];

/// A flow between members of a crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    pub source: IpAddr,
    pub target: IpAddr,
    pub proto: Proto,
    pub port: u16,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered,
    /// The wall's watch saw the packet without a mark: it goes nowhere.
    Refused,
    /// Neither.
    Lost,
}

struct Trial<'a> {
    crowd: &'a mut Crowd,
    flows: &'a [Flow],
    outcomes: Vec<Option<Outcome>>,
    /// The sockets that have a part in it.
    sockets: Vec<(usize, Use)>,
    /// Connections under way, by flow.
    connecting: HashMap<usize, Socket>,
    number: u16,
}

impl Crowd {
    /// Tries flows, each with a packet of its own. Bound ports stay open for the next trial.
    ///
    /// # Errors
    /// A socket cannot be made, or the kernel not be asked.
    pub fn try_flows(&mut self, kernel: &mut Linux, flows: &[Flow]) -> Result<Vec<Outcome>, Error> {
        let mut all = Vec::with_capacity(flows.len());
        for part in flows.chunks(AT_ONCE) {
            self.trials = self.trials.wrapping_add(1);
            let number = self.trials;
            let trial = Trial {
                crowd: self,
                flows: part,
                outcomes: vec![None; part.len()],
                sockets: vec![],
                connecting: HashMap::new(),
                number,
            };
            all.extend(trial.run(kernel)?);
        }
        Ok(all)
    }
}

impl Trial<'_> {
    fn run(mut self, kernel: &mut Linux) -> Result<Vec<Outcome>, Error> {
        let families: BTreeSet<Family> = self.flows.iter().map(|f| Family::of(f.source)).collect();
        for family in &families {
            kernel.forget_refused(*family)?;
        }
        self.start().map_err(reading("the sockets of a test stand"))?;
        let begun = Instant::now();
        let mut again = AGAIN.iter();
        let mut next = again.next();
        let mut wait = Duration::ZERO;
        while self.is_open() {
            let heard = self.pump(wait).map_err(reading("the sockets of a test stand"))?;
            if heard > 0 {
                wait = Duration::ZERO;
                continue;
            }
            for family in &families {
                self.note_refused(&kernel.refused(*family)?);
            }
            // On a busy machine time passes while answers wait: only now nothing does.
            if begun.elapsed() > BOUND {
                break;
            }
            wait = (wait * 2).clamp(Duration::from_millis(1), Duration::from_millis(50));
            if next.is_some_and(|at| begun.elapsed() > *at) {
                next = again.next();
                self.send_again();
            }
        }
        // What waits to be taken would fill the queue.
        self.connecting.clear();
        self.pump(Duration::ZERO)
            .map_err(reading("the sockets of a test stand"))?;
        let outcomes = self.outcomes.into_iter();
        Ok(outcomes.map(|o| o.unwrap_or(Outcome::Lost)).collect())
    }

    fn is_open(&self) -> bool {
        self.outcomes.contains(&None)
    }

    /// Opens sockets and sends the first packet of each flow.
    fn start(&mut self) -> io::Result<()> {
        let uses = self.flows.iter().flat_map(|flow| {
            let family = Family::of(flow.target);
            let at_client = match flow.proto {
                Proto::Udp => Some(Use::Ask(family)),
                Proto::Sctp => Some(Use::Sctp(family)),
                Proto::Tcp | Proto::Icmp => None,
            };
            let at_server = served(flow.proto, family, flow.port);
            let server = at_server.map(|what| (flow.to, what));
            server.into_iter().chain(at_client.map(|what| (flow.from, what)))
        });
        self.sockets = uses.collect::<HashSet<_>>().into_iter().collect();
        for (member, what) in &self.sockets {
            self.crowd.open(*member, *what)?;
        }
        let mut clients: HashMap<(usize, Family), Vec<usize>> = HashMap::new();
        for (n, flow) in self.flows.iter().enumerate() {
            if flow.proto == Proto::Tcp {
                let client = (flow.from, Family::of(flow.source));
                clients.entry(client).or_default().push(n);
                continue;
            }
            self.send(n);
            if n % PUMP == 0 {
                self.pump(Duration::ZERO)?;
            }
        }
        let mut sent = 0;
        for ((member, family), flows) in clients {
            let count = flows.len();
            let namespace = &self.crowd.members[member].namespace;
            let sockets = self
                .crowd
                .maker
                .within(namespace, move || clients_of(family, count))?;
            for (n, socket) in flows.into_iter().zip(sockets) {
                let flow = &self.flows[n];
                // Refusals are told to the socket; the watch says it surely.
                let _ = socket.connect(&SocketAddr::new(flow.target, flow.port).into());
                self.connecting.insert(n, socket);
            }
            sent += count;
            if sent / PUMP != (sent - count) / PUMP {
                self.pump(Duration::ZERO)?;
            }
        }
        Ok(())
    }

    /// Sends a packet that needs no connection. One that does not leave is sent again later.
    fn send(&self, n: usize) {
        let flow = &self.flows[n];
        let (family, sockets) = (Family::of(flow.target), &self.crowd.members[flow.from].sockets);
        let to = |port| SockAddr::from(SocketAddr::new(flow.target, port));
        match flow.proto {
            Proto::Udp => {
                let text = self.tag(n).to_be_bytes();
                let _ = sockets
                    .get(&Use::Ask(family))
                    .map(|s| s.send_to(&text, &to(flow.port)));
            }
            Proto::Sctp => {
                let packet = sctp::init(0xc000 | self.number & 0x3fff, flow.port, self.tag(n));
                let _ = sockets
                    .get(&Use::Sctp(family))
                    .map(|s| s.send_to(&packet, &to(0)));
            }
            Proto::Tcp | Proto::Icmp => {}
        }
    }

    fn send_again(&self) {
        let open = (0..self.flows.len()).filter(|n| self.outcomes[*n].is_none());
        open.for_each(|n| self.send(n));
    }

    /// What a flow's answer carries: never zero.
    fn tag(&self, n: usize) -> u32 {
        u32::from(self.number) << 16 | (n as u32 + 1)
    }

    fn answered(&mut self, tag: u32) {
        let n = ((tag & 0xffff) as usize).wrapping_sub(1);
        let is_ours = tag >> 16 == u32::from(self.number);
        if let Some(outcome) = self.outcomes.get_mut(n).filter(|_| is_ours) {
            *outcome = Some(Outcome::Answered);
        }
    }

    fn note_refused(&mut self, refused: &[(IpAddr, IpAddr, u8, u16)]) {
        let refused: BTreeSet<_> = refused.iter().copied().collect();
        for (flow, outcome) in self.flows.iter().zip(&mut self.outcomes) {
            let number = flow.proto.number(Family::of(flow.source));
            if outcome.is_none() && refused.contains(&(flow.source, flow.target, number, flow.port)) {
                *outcome = Some(Outcome::Refused);
            }
        }
        let outcomes = &self.outcomes;
        self.connecting.retain(|n, _| outcomes[*n].is_none());
    }

    /// Waits for sockets that have something, answers what asks, notes what is answered; how many had something.
    fn pump(&mut self, wait: Duration) -> io::Result<usize> {
        let sockets = self.sockets.clone();
        let connecting: Vec<usize> = self.connecting.keys().copied().collect();
        let ready: Vec<bool> = {
            let socket = |(m, u): &(usize, Use)| &self.crowd.members[*m].sockets[u];
            let reading = sockets
                .iter()
                .map(|s| PollFd::new(socket(s).as_fd(), PollFlags::POLLIN));
            let writing = connecting.iter();
            let writing = writing.map(|n| PollFd::new(self.connecting[n].as_fd(), PollFlags::POLLOUT));
            let mut fds: Vec<PollFd<'_>> = reading.chain(writing).collect();
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
            match poll(&mut fds, timeout) {
                Err(nix::Error::EINTR) => return Ok(0),
                other => other?,
            };
            fds.iter().map(|f| f.any().unwrap_or(false)).collect()
        };
        let (reading, writing) = ready.split_at(sockets.len());
        for ((member, what), _) in sockets.iter().zip(reading).filter(|(_, r)| **r) {
            self.serve(*member, *what);
        }
        for (n, _) in connecting.iter().zip(writing).filter(|(_, r)| **r) {
            let Some(socket) = self.connecting.remove(n) else {
                continue;
            };
            if matches!(socket.take_error(), Ok(None)) {
                self.outcomes[*n] = Some(Outcome::Answered);
            }
        }
        Ok(ready.iter().filter(|r| **r).count())
    }

    /// Takes everything that waits on one socket.
    fn serve(&mut self, member: usize, what: Use) {
        let mut tags = vec![];
        let Some(mut socket) = self.crowd.members[member].sockets.get(&what) else {
            return;
        };
        match what {
            Use::Listen(..) => while socket.accept().is_ok() {},
            Use::Echo(..) => {
                while let Some((text, from)) = take(socket) {
                    answer(socket, &text, &from);
                }
            }
            Use::Ask(_) => {
                let mut tag = [0; 4];
                while let Ok(n) = socket.read(&mut tag) {
                    tags.extend((n == 4).then(|| u32::from_be_bytes(tag)));
                }
            }
            Use::Sctp(family) => {
                while let Some((packet, from)) = take(socket) {
                    match sctp::read(without_header(&packet, family)) {
                        Some(Heard::Asked { from: port, to, tag }) => {
                            answer(socket, &sctp::init_ack(to, port, tag), &from);
                        }
                        Some(Heard::Answered { tag }) => tags.push(tag),
                        None => {}
                    }
                }
            }
        }
        tags.into_iter().for_each(|t| self.answered(t));
    }
}

/// What waits on a socket, and whose it is.
fn take(socket: &Socket) -> Option<(Vec<u8>, SockaddrStorage)> {
    let mut buffer = [0; 256];
    let (n, from) = recvfrom(socket.as_raw_fd(), &mut buffer).ok()?;
    Some((buffer[..n].to_vec(), from?))
}

/// An answer that does not leave is asked for again.
fn answer(socket: &Socket, text: &[u8], to: &SockaddrStorage) {
    let _ = sendto(socket.as_raw_fd(), text, to, MsgFlags::empty());
}

/// Sockets for connections that end with a reset: nothing of them is left behind.
fn clients_of(family: Family, count: usize) -> io::Result<Vec<Socket>> {
    let make = |_| {
        let socket = Socket::new(domain(family), Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        Ok(socket)
    };
    (0..count).map(make).collect()
}

/// A raw socket of IPv4 gives the IP header, too; one of IPv6 does not.
fn without_header(packet: &[u8], family: Family) -> &[u8] {
    let length = match (family, packet.first()) {
        (Family::Ip4, Some(first)) => usize::from(first & 15) * 4,
        _ => 0,
    };
    packet.get(length..).unwrap_or_default()
}
