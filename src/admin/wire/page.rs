//! Pages that can be merged with the same page of other processes.

use serde::de::DeserializeOwned;

use super::{Breaker, Breakers, FaultTarget, Faults, Transition, Transitions, Unreachable};

/// A page that can be merged with the same page of other processes.
pub trait Page: DeserializeOwned {
    /// One item of its list.
    type Item;

    /// Path of the page.
    const PATH: &'static str;

    /// Its list.
    fn items(&mut self) -> &mut Vec<Self::Item>;

    /// Sets the process of an item.
    fn name_process(item: &mut Self::Item, address: &str);

    /// Sets the processes that did not answer.
    fn name_unreachable(&mut self, unreachable: Vec<Unreachable>);
}

macro_rules! page {
    ($page:ty, $item:ty, $path:literal, $list:ident) => {
        impl Page for $page {
            type Item = $item;

            const PATH: &'static str = $path;

            fn items(&mut self) -> &mut Vec<$item> {
                &mut self.$list
            }

            fn name_process(item: &mut $item, address: &str) {
                item.process = Some(address.to_owned());
            }

            fn name_unreachable(&mut self, unreachable: Vec<Unreachable>) {
                self.unreachable = Some(unreachable);
            }
        }
    };
}

page!(Breakers, Breaker, "/breakers", breakers);
page!(Transitions, Transition, "/transitions", transitions);
page!(Faults, FaultTarget, "/faults", targets);
