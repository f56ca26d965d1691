//! A thread that goes from namespace to namespace and makes what stays there.
//!
//! It ends with its [`Maker`] and does nothing else: a thread that entered a namespace never comes back
//! (`setns(2)`). A socket stays in the namespace in which it was made, whoever uses it.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use crate::kernel::linux::namespace::Namespace;

type Order = Box<dyn FnOnce() + Send>;

pub struct Maker {
    /// `None` once it is to end.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Maker {
    pub fn start() -> io::Result<Self> {
        let (orders, waiting) = channel::<Order>();
        let work = move || waiting.iter().for_each(|order| order());
        let thread = thread::Builder::new().name("maker".to_owned()).spawn(work)?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Makes a namespace.
    pub fn namespace(&self) -> io::Result<Namespace> {
        self.order(Namespace::unshared)
    }

    /// Does `work` inside.
    pub fn within<T: Send + 'static>(
        &self,
        namespace: &Namespace,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let namespace = namespace.try_clone()?;
        self.order(move || {
            namespace.enter()?;
            work()
        })
    }

    fn order<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the thread that makes sockets ended");
        let (tell, hear) = channel();
        let order = move || {
            // Whoever ordered may be gone.
            let _ = tell.send(work());
        };
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        orders.send(Box::new(order)).map_err(|_| gone())?;
        hear.recv().map_err(|_| gone())?
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.orders = None;
        // It has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
