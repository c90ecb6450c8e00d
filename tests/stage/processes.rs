//! The processes of these tests as their parent has them: a spawner, and what it makes.

use super::*;

/// A process that a spawner has made; ended when dropped.
pub struct Made {
    pub pid: Pid,
    pub handle: OwnedFd,
}

/// A spawner; when dropped it must end by itself.
pub struct Spawner {
    pub child: Child,
    pub socket: Option<OwnedFd>,
    pub orders: u64,
}

impl Spawner {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order; the process that it has made, or the errno of the refusal.
    pub fn order(&mut self, order: &SpawnerOrder, fds: &[OwnedFd]) -> Result<Made, i32> {
        self.orders += 1;
        self.send(&order.encode(self.orders), fds);
        self.answer(self.orders).expect("an answer")
    }

    /// One start; our end of its status socket with it. Its emperor pipe ends at once.
    pub fn start(&mut self, order: StartOrder) -> (Made, OwnedFd) {
        let (_pipe, their_pipe) = socket::stream_pair().unwrap();
        let (status, their_status) = socket::packet_pair().unwrap();
        let made = self.order(&SpawnerOrder::Start(order), &[their_pipe, their_status]).unwrap();
        (made, status)
    }

    pub fn send(&self, packet: &[u8], fds: &[OwnedFd]) {
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        scm::send(self.socket.as_ref().unwrap().as_fd(), packet, &fds).unwrap();
    }

    /// The answer to this order; `None` if the spawner has ended instead.
    pub fn answer(&self, order: u64) -> Option<Result<Made, i32>> {
        let socket = self.socket.as_ref().unwrap().as_fd();
        let ready = fd::wait_readable([socket], Some(PATIENCE)).unwrap();
        assert_eq!(ready, [true], "no answer of the spawner");
        let mut buffer = [0; 64];
        let mut received = match scm::receive(socket, &mut buffer) {
            // It has ended with packets that it had not read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            received => received.unwrap(),
        };
        if received.length == 0 {
            return None;
        }
        let answer = SpawnerAnswer::decode(&buffer[..received.length]).unwrap();
        assert_eq!(answer.order, order);
        assert_eq!(received.fds.len(), usize::from(answer.made.is_ok()));
        let made =
            |number| Made { pid: Pid::new(number).unwrap(), handle: received.fds.pop().unwrap() };
        Some(answer.made.map(made))
    }

    /// Closes the order socket, and waits for the end of the spawner.
    pub fn end(&mut self) -> Option<i32> {
        drop(self.socket.take());
        end_of(&mut self.child).code()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        if self.socket.is_none() {
            return;
        }
        if std::thread::panicking() {
            let _ = self.child.kill();
            let _ = self.child.wait();
            return;
        }
        assert_eq!(self.end(), Some(0), "the end of the spawner");
    }
}

impl Made {
    pub fn number(&self) -> u32 {
        self.pid.get().unsigned_abs()
    }

    /// Waits for its end, and reaps it.
    pub fn wait(&self) -> ExitStatus {
        assert_eq!(fd::wait_readable([self.handle.as_fd()], Some(PATIENCE)).unwrap(), [true]);
        pidfd::wait(self.handle.as_fd(), Reap::Take).unwrap().unwrap()
    }

    pub fn kill(&self) {
        // It fails only if it has ended and was reaped.
        let _ = pidfd::send(self.handle.as_fd(), Signal::KILL);
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.kill();
        // The shell that it was may have left a child; it fails if it is reaped, or has left no group.
        let _ = process::kill_group(self.pid, Signal::KILL);
        let _ = fd::wait_readable([self.handle.as_fd()], Some(PATIENCE));
        let _ = pidfd::wait(self.handle.as_fd(), Reap::Take);
    }
}

pub fn end_of(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "it has not ended");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every open descriptor of a process and what it is.
pub fn fds(pid: u32) -> BTreeMap<i32, String> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.map(|path| (number(&path).unwrap(), link(&path))).collect()
}

/// Name and state in `/proc/PID/stat`.
pub fn stat(pid: u32) -> Option<(String, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    Some((name.to_owned(), rest.trim_start().chars().next()?))
}
