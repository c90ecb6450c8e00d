//! What a server answers: the bytes of a request in, an answer out.
//!
//! The server does everything that has to do with sockets, slow clients and time. A service is asked as soon as
//! a client has connected, with an empty request, and again whenever more of the request has come:
//!
//! - the statistics answer the empty request, so nothing is ever read;
//! - HTTP finds the empty line that ends a request, and gives one answer;
//! - a control socket takes one line at a time, and gives an answer for each.

use std::rc::Rc;

use crate::emperor::context::Context;
use crate::emperor::own_process::OwnProcess;
use crate::monitor::Monitor;
use crate::state::LifeId;
use crate::state::realm::Realm;
use crate::types::moment::Moment;

/// An answer; clients that get the same one share it.
pub(in crate::emperor) type Bytes = Rc<Vec<u8>>;

/// What is to be done with a client that has sent so much.
#[cfg_attr(not(test), expect(dead_code, reason = "the statistics read nothing from a client"))]
pub(in crate::emperor) enum Answer {
    /// The request is not complete: the client is asked for more.
    Incomplete,
    /// The answer to the first bytes; what is behind them belongs to the next request.
    Next { taken: usize, bytes: Bytes },
    /// The answer is being made, a part of it in each turn: the service is asked again.
    Later,
    /// The only or last answer: the connection ends when the client has got it.
    Last(Bytes),
}

/// What clients of a server are given.
pub(in crate::emperor) trait Service {
    /// What is served, for messages: "statistics".
    fn name(&self) -> &'static str;

    /// Answers what a client has sent and no answer was given to yet.
    fn answer(&mut self, request: &[u8], access: &mut Access<'_>) -> Answer;
}

/// What services see of the emperor. An order is given as an event of the context.
pub(in crate::emperor) struct Access<'a> {
    pub context: &'a mut Context,
    pub realm: &'a Realm,
    pub monitors: Vec<&'a dyn Monitor>,
    pub process: &'a OwnProcess,
    pub keeper_pid: Option<u32>,
    /// When the emperor was started.
    pub started: Moment,
    /// How many vassals the limit of descriptors allows.
    pub max_vassals: usize,
    /// Faults in liege that were caught and repaired.
    pub internal_errors: u64,
    /// The base that a life was forked from.
    pub base_of: &'a dyn Fn(LifeId) -> Option<Rc<[u8]>>,
}
