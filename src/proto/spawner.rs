//! The order socket: the private line between the emperor and its spawner.
//!
//! A `SOCK_SEQPACKET` pair; every message is one packet, written as `packet.rs` says. The emperor speaks first: the
//! template, which has what all starts share. Then come orders, each with a number and with the descriptors that the
//! new process gets; the spawner answers each with the pid, to which the pidfd is attached, or with an errno. Both
//! ends are of one version of liege, as the spawner is executed from the file of the running emperor.

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::types::names;
use crate::types::purpose::Purpose;

use super::packet::{MAX_LISTENERS, MAX_VASSAL_NAME, Malformed, PacketReader, PacketWriter};

/// Longest packet of an order.
pub const MAX_ORDER: usize = 16 * 1024;
/// Longest packet of a template.
pub const MAX_TEMPLATE: usize = 192 * 1024;
/// Most sockets that a probe looks for.
const MAX_PROBED: usize = 64;

const KIND_TEMPLATE: u8 = b'T';
const KIND_START: u8 = b'S';
const KIND_STOP_HOOK: u8 = b'K';
const KIND_SEND_CONFIG: u8 = b'C';
const KIND_PROBE: u8 = b'P';
const KIND_MADE: u8 = b'M';
const KIND_REFUSED: u8 = b'R';

/// What all starts have in common, but for the environment: that of the spawner itself is the one of the vassals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// Tried in this order: the overrides of the wrapper, the wrapper or program, the fallbacks.
    pub programs: Vec<CString>,
    /// How many of them are overrides.
    pub overrides: usize,
    /// Arguments before the one that names the vassal file.
    pub before: Vec<CString>,
    /// Arguments after it.
    pub after: Vec<CString>,
    /// Endings that are read as INI, given as `--config NAME`.
    pub extra_extensions: Vec<String>,
    /// Where the vassals of each source start; by the number of the source.
    pub directories: Vec<CString>,
    /// Soft limit of descriptors that the emperor was given, before it raised its own.
    pub descriptor_limit: u64,
    /// What a vassal is worth when memory runs out, where the emperor is worth more.
    pub oom_score: Option<i32>,
    /// Vassals are prepared by liege's own stage; otherwise the program is executed at once.
    pub stage: bool,
    /// Run in each new process, before its program.
    pub start_hook: Option<CString>,
    /// Run for each process that has ended.
    pub stop_hook: Option<CString>,
    /// Vassal files travel by the config pipe.
    pub config_pipe: bool,
}

/// What a new process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpawnerOrder {
    /// Start a vassal, or check its file.
    Start(StartOrder),
    /// Run the stop hook of this vassal.
    StopHook(VassalName),
    /// Send the file of this vassal on the config pipe. Attached: our end of it.
    SendConfig(VassalName),
    /// Look whether a process waits for connections.
    Probe {
        /// The main process of the life.
        pid: i32,
        /// The inodes of its sockets.
        inodes: Vec<u64>,
    },
}

/// Which vassal an order is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VassalName {
    /// Number of its source.
    pub source: u16,
    /// Name of its file.
    pub name: OsString,
}

/// One start.
///
/// Attached: the emperor pipe, the status socket, both ends of the config pipe (ours first) if the template has one,
/// the on-demand listener if there is one, then `listeners` listening sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartOrder {
    /// The vassal.
    pub vassal: VassalName,
    /// A start, or a check of the file.
    pub purpose: Purpose,
    /// What all that it starts is known by; 0: it has no mark.
    pub mark: u64,
    /// An on-demand listener is attached.
    pub on_demand: bool,
    /// A program that is to be replaced is using the attached sockets. All processes that hold a socket share
    /// its flags, so these are left as the program has set them.
    pub in_use: bool,
    /// How many listening sockets in custody are attached, at most [`MAX_LISTENERS`].
    pub listeners: u8,
    /// The directory for its notify socket; empty: there is none, and the socket gets an abstract name.
    pub runtime: OsString,
    /// The mark of the running program, which ends before the start that is checked; 0: there is none.
    pub running: u64,
}

/// The answer of the spawner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpawnerAnswer {
    /// Number of the order.
    pub order: u64,
    /// The new process; attached: its pidfd. Or why there is none.
    pub made: Result<i32, i32>,
}

impl Template {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = PacketWriter::new(KIND_TEMPLATE);
        for list in [&self.programs, &self.before, &self.after, &self.directories] {
            out.c_strings(list);
        }
        out.long(self.overrides as u64);
        out.long(self.extra_extensions.len() as u64);
        for ending in &self.extra_extensions {
            out.long_bytes(ending.as_bytes());
        }
        out.long(self.descriptor_limit);
        out.byte(u8::from(self.oom_score.is_some()));
        out.number(self.oom_score.unwrap_or_default());
        out.byte(u8::from(self.stage));
        for hook in [&self.start_hook, &self.stop_hook] {
            out.c_strings(hook.as_slice());
        }
        out.byte(u8::from(self.config_pipe));
        out.0
    }

    /// Reads the packet.
    ///
    /// # Errors
    /// Anything that [`Template::encode`] does not write.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut fields = PacketReader(packet);
        if fields.header()? != KIND_TEMPLATE {
            return Err(Malformed("template expected"));
        }
        let mut read = Self::default();
        for list in [&mut read.programs, &mut read.before, &mut read.after, &mut read.directories] {
            *list = fields.c_strings()?;
        }
        read.overrides = fields.count()?;
        for _ in 0..fields.count()? {
            let ending = fields.long_bytes()?;
            read.extra_extensions.push(String::from_utf8_lossy(ending).into_owned());
        }
        read.descriptor_limit = fields.long()?;
        let (is_scored, score) = (fields.flag()?, fields.number()?);
        read.oom_score = is_scored.then_some(score);
        read.stage = fields.flag()?;
        read.start_hook = fields.c_strings()?.pop();
        read.stop_hook = fields.c_strings()?.pop();
        read.config_pipe = fields.flag()?;
        fields.end()?;
        Ok(read)
    }

    /// The option that names a vassal file of this name.
    pub fn option(&self, name: &[u8]) -> &'static CStr {
        // As uWSGI does for a name with any other ending.
        names::option(name, &self.extra_extensions).unwrap_or(c"--inherit")
    }

    /// The arguments of a vassal behind the program's name; `file` is what it is told as the name of its file.
    pub fn arguments<'a>(&'a self, name: &[u8], file: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let named = [self.option(name).to_bytes(), file];
        let before = self.before.iter().map(|text| text.to_bytes());
        before.chain(named).chain(self.after.iter().map(|text| text.to_bytes()))
    }

    /// The same for a program that runs already, with its name. Nothing is started, so no override is tried.
    pub fn argv<'a>(&'a self, name: &[u8], file: &'a [u8]) -> Vec<&'a [u8]> {
        let program = self.programs.get(self.overrides).map(|text| text.to_bytes());
        program.into_iter().chain(self.arguments(name, file)).collect()
    }
}

impl SpawnerOrder {
    /// The packet of the order with this number.
    pub fn encode(&self, number: u64) -> Vec<u8> {
        let kind = match self {
            Self::Start(_) => KIND_START,
            Self::StopHook(_) => KIND_STOP_HOOK,
            Self::SendConfig(_) => KIND_SEND_CONFIG,
            Self::Probe { .. } => KIND_PROBE,
        };
        let mut out = PacketWriter::new(kind);
        out.long(number);
        match self {
            Self::Start(start) => start.encode(&mut out),
            Self::StopHook(vassal) | Self::SendConfig(vassal) => vassal.encode(&mut out),
            Self::Probe { pid, inodes } => {
                out.number(*pid);
                let count = inodes.len().min(MAX_PROBED);
                out.long(count as u64);
                inodes.iter().take(count).for_each(|inode| out.long(*inode));
            }
        }
        out.0
    }

    /// The number of an order, which stands at the same place in each.
    ///
    /// # Errors
    /// It is not an order.
    pub fn number(packet: &[u8]) -> Result<u64, Malformed> {
        let mut fields = PacketReader(packet);
        fields.header()?;
        fields.long()
    }

    /// Reads the packet.
    ///
    /// # Errors
    /// Anything that [`SpawnerOrder::encode`] does not write.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut fields = PacketReader(packet);
        let kind = fields.header()?;
        fields.long()?;
        let order = match kind {
            KIND_START => Self::Start(StartOrder::decode(&mut fields)?),
            KIND_STOP_HOOK => Self::StopHook(VassalName::decode(&mut fields)?),
            KIND_SEND_CONFIG => Self::SendConfig(VassalName::decode(&mut fields)?),
            KIND_PROBE => {
                let (pid, count) = (fields.number()?, fields.count()?);
                if count > MAX_PROBED {
                    return Err(Malformed("too many sockets"));
                }
                let inodes = (0..count).map(|_| fields.long()).collect::<Result<_, _>>()?;
                Self::Probe { pid, inodes }
            }
            _ => return Err(Malformed("unknown order")),
        };
        fields.end()?;
        Ok(order)
    }
}

impl VassalName {
    fn encode(&self, out: &mut PacketWriter) {
        out.long(u64::from(self.source));
        out.name(&self.name);
    }

    fn decode(fields: &mut PacketReader<'_>) -> Result<Self, Malformed> {
        let source = u16::try_from(fields.long()?).map_err(|_| Malformed("no source"))?;
        Ok(Self { source, name: fields.name()? })
    }
}

impl StartOrder {
    fn encode(&self, out: &mut PacketWriter) {
        self.vassal.encode(out);
        out.byte(u8::from(self.purpose == Purpose::Check));
        out.long(self.mark);
        out.byte(u8::from(self.on_demand));
        out.byte(u8::from(self.in_use));
        out.byte(self.listeners);
        out.name(&self.runtime);
        out.long(self.running);
    }

    fn decode(fields: &mut PacketReader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            vassal: VassalName::decode(fields)?,
            purpose: if fields.flag()? { Purpose::Check } else { Purpose::Start },
            mark: fields.long()?,
            on_demand: fields.flag()?,
            in_use: fields.flag()?,
            listeners: fields.listeners()?,
            runtime: fields.name()?,
            running: fields.long()?,
        })
    }
}

impl SpawnerAnswer {
    /// The packet, without memory from the heap.
    pub fn encode(self) -> [u8; 14] {
        let (kind, value) = match self.made {
            Ok(pid) => (KIND_MADE, pid),
            Err(errno) => (KIND_REFUSED, errno),
        };
        let mut packet = [0; 14];
        let fields = [super::packet::VERSION, kind].into_iter();
        let fields = fields.chain(self.order.to_le_bytes()).chain(value.to_le_bytes());
        packet.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
        packet
    }

    /// Reads the packet.
    ///
    /// # Errors
    /// Anything that [`SpawnerAnswer::encode`] does not write.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut fields = PacketReader(packet);
        let (kind, order) = (fields.header()?, fields.long()?);
        let made = match kind {
            KIND_MADE => Ok(fields.number()?),
            KIND_REFUSED => Err(fields.errno()?),
            _ => return Err(Malformed("unknown answer")),
        };
        fields.end()?;
        Ok(Self { order, made })
    }
}

impl PacketWriter {
    fn c_strings(&mut self, list: &[CString]) {
        self.long(list.len() as u64);
        list.iter().for_each(|text| self.long_bytes(text.to_bytes()));
    }

    fn long_bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn number(&mut self, value: i32) {
        self.0.extend(value.to_le_bytes());
    }

    /// A name longer than any path is cut.
    fn name(&mut self, name: &OsString) {
        let bytes = name.as_bytes();
        self.bytes(bytes.get(..MAX_VASSAL_NAME).unwrap_or(bytes));
    }
}

impl<'a> PacketReader<'a> {
    fn c_strings(&mut self) -> Result<Vec<CString>, Malformed> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Malformed("a text with NUL"));
        (0..self.count()?).map(|_| text(self.long_bytes()?)).collect()
    }

    fn long_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count()?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.take()?))
    }

    /// A number of bytes or items, of which so many are left at least.
    fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.long()?).map_err(|_| Malformed("too many"))?;
        if count <= self.0.len() { Ok(count) } else { Err(Malformed("too many")) }
    }
}

const _: () = assert!(MAX_LISTENERS + 5 < 253, "what is attached to a start fits into one message");

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template {
            programs: vec![c"/first".into(), c"/bin/x".into(), c"/last".into()],
            overrides: 1,
            before: vec![c"--set".into(), c"a=b".into()],
            after: vec![c"--include".into(), c"c".into()],
            extra_extensions: vec![".vassal".to_owned()],
            directories: vec![c"/etc/vassals".into(), c"/srv".into()],
            descriptor_limit: 1024,
            oom_score: Some(-3),
            stage: true,
            start_hook: Some(c"/bin/hook".into()),
            stop_hook: None,
            config_pipe: true,
        }
    }

    fn orders() -> Vec<SpawnerOrder> {
        let vassal = VassalName { source: 1, name: "a.ini".into() };
        let start = StartOrder {
            vassal: vassal.clone(),
            purpose: Purpose::Check,
            mark: u64::MAX - 3,
            on_demand: true,
            in_use: true,
            listeners: 16,
            runtime: "/run/liege".into(),
            running: 7,
        };
        vec![
            SpawnerOrder::Start(start),
            SpawnerOrder::Start(StartOrder::default()),
            SpawnerOrder::StopHook(vassal.clone()),
            SpawnerOrder::SendConfig(vassal),
            SpawnerOrder::Probe { pid: 4711, inodes: vec![1, u64::MAX] },
            SpawnerOrder::Probe { pid: 2, inodes: Vec::new() },
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Template::decode(&template().encode()), Ok(template()));
        for order in orders() {
            let packet = order.encode(77);
            assert_eq!(
                (SpawnerOrder::number(&packet), SpawnerOrder::decode(&packet)),
                (Ok(77), Ok(order))
            );
        }
        for made in [Ok(4711), Err(11)] {
            let answer = SpawnerAnswer { order: u64::MAX, made };
            assert_eq!(SpawnerAnswer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn a_packet_that_is_cut_or_too_long_is_refused() {
        let orders = orders().into_iter().map(|order| order.encode(1)).collect::<Vec<_>>();
        for whole in &orders {
            for length in 0..whole.len() {
                assert!(SpawnerOrder::decode(&whole[..length]).is_err());
            }
            assert!(SpawnerOrder::decode(&[whole.as_slice(), b"x"].concat()).is_err());
        }
        let whole = template().encode();
        assert!((0..whole.len()).all(|length| Template::decode(&whole[..length]).is_err()));
    }

    #[test]
    fn the_longest_order_fits_into_its_packet() {
        let name = OsString::from("x".repeat(100_000));
        let vassal = VassalName { source: u16::MAX, name: name.clone() };
        let longest =
            SpawnerOrder::Start(StartOrder { vassal, runtime: name, ..Default::default() });
        assert!(longest.encode(u64::MAX).len() <= MAX_ORDER);
        let many = SpawnerOrder::Probe { pid: 2, inodes: vec![1; 10_000] };
        assert!(many.encode(u64::MAX).len() <= MAX_ORDER);
    }

    #[test]
    fn the_option_that_names_the_file_follows_its_ending() {
        let template = template();
        let of = |name: &[u8]| template.option(name).to_str().unwrap();
        assert_eq!(of(b"a.ini"), "--ini");
        assert_eq!(of(b"a.xml"), "--xml");
        assert_eq!(of(b"a.yaml"), "--yaml");
        assert_eq!(of(b"a.yml"), "--yaml");
        assert_eq!(of(b"a.js"), "--json");
        assert_eq!(of(b"a.vassal"), "--config");
        assert_eq!(of(b"a.else"), "--inherit");
    }

    #[test]
    fn the_arguments_of_a_vassal_stand_in_the_order_of_uwsgi() {
        let template = template();
        let argv = template.argv(b"one.ini", b"emperor://one.ini");
        let expected = ["/bin/x", "--set", "a=b", "--ini", "emperor://one.ini", "--include", "c"];
        assert_eq!(argv, expected.map(str::as_bytes));
    }
}
