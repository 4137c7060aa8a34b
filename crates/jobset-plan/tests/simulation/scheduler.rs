//! The scheduler: the nodes have room for a number of pods. The pods of a Job are placed all together, or wait. The
//! Jobs of a gang are placed together, too, until at least minCount pods of the gang have a node.

use std::collections::BTreeMap;

/// The scheduler. It identifies pods by the UID of their Job and the run of that Job.
pub(crate) struct Scheduler {
    free: i32,
    held: BTreeMap<(String, u32), Pods>,
    waiting: Vec<(String, u32, Pods)>,
}

/// The pods of one run of a Job.
struct Pods {
    count: i32,
    /// The name of their PodGroup.
    group: Option<String>,
}

/// What the scheduler decided about the pods in its queue.
#[derive(Default)]
pub(crate) struct Placement {
    /// The UIDs and runs of the Jobs whose pods get a node.
    pub(crate) placed: Vec<(String, u32)>,
    /// The PodGroups whose pods exist and do not fit.
    pub(crate) unschedulable: Vec<String>,
}

impl Scheduler {
    /// A scheduler for nodes with room for this number of pods.
    pub(crate) fn new(room: i32) -> Self {
        Self { free: room, held: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Adds the pods of a Job to the queue.
    pub(crate) fn enqueue(&mut self, uid: &str, run: u32, pods: i32, group: Option<&str>) {
        let pods = Pods { count: pods, group: group.map(str::to_owned) };
        self.waiting.push((uid.to_owned(), run, pods));
    }

    /// Removes the pods of a Job from the queue.
    pub(crate) fn withdraw(&mut self, uid: &str) {
        self.waiting.retain(|(of, _, _)| of != uid);
    }

    /// Changes the number of the pods of a Job.
    pub(crate) fn resize(&mut self, uid: &str, count: i32) {
        for (_, _, pods) in self.waiting.iter_mut().filter(|(of, _, _)| of == uid) {
            pods.count = count;
        }
        for (_, pods) in self.held.iter_mut().filter(|((of, _), _)| of == uid) {
            self.free -= count - pods.count;
            pods.count = count;
        }
    }

    /// Places the first pods in the queue that fit. `min_count` returns the minCount of an existing PodGroup.
    pub(crate) fn place(&mut self, min_count: impl Fn(&str) -> Option<i32>) -> Placement {
        let mut placement = Placement::default();
        for at in 0..self.waiting.len() {
            let (uid, run, pods) = &self.waiting[at];
            let Some(group) = &pods.group else {
                if pods.count <= self.free {
                    placement.placed.push((uid.clone(), *run));
                    break;
                }
                continue;
            };
            // Pods wait for their PodGroup, and until minCount pods exist.
            let Some(min_count) = min_count(group).filter(|min_count| *min_count <= self.pods_of(group))
            else {
                continue;
            };
            let chosen = self.fitting(group);
            let total: i32 = chosen.iter().map(|(_, _, count)| count).sum();
            if !chosen.is_empty() && total + self.bound_of(group) >= min_count {
                placement.placed = chosen.into_iter().map(|(uid, run, _)| (uid, run)).collect();
                break;
            }
            placement.unschedulable.push(group.clone());
        }
        for (uid, run) in &placement.placed {
            let at = self.waiting.iter().position(|(of, of_run, _)| of == uid && of_run == run);
            let (uid, run, pods) = self.waiting.remove(at.unwrap());
            self.free -= pods.count;
            self.held.insert((uid, run), pods);
        }
        placement
    }

    /// The waiting Jobs of a group that fit beside each other.
    fn fitting(&self, group: &str) -> Vec<(String, u32, i32)> {
        let mut free = self.free;
        let of_group = self.waiting.iter().filter(|(_, _, pods)| pods.group.as_deref() == Some(group));
        let fitting = of_group.filter(|(_, _, pods)| {
            let fits = pods.count <= free;
            free -= if fits { pods.count } else { 0 };
            fits
        });
        fitting.map(|(uid, run, pods)| (uid.clone(), *run, pods.count)).collect()
    }

    /// The number of pods of a PodGroup with a node.
    pub(crate) fn bound_of(&self, group: &str) -> i32 {
        self.held.values().filter(|pods| pods.group.as_deref() == Some(group)).map(|pods| pods.count).sum()
    }

    /// The number of pods of a PodGroup that have not ended, with and without a node.
    pub(crate) fn pods_of(&self, group: &str) -> i32 {
        let waiting = self.waiting.iter().filter(|(_, _, pods)| pods.group.as_deref() == Some(group));
        self.bound_of(group) + waiting.map(|(_, _, pods)| pods.count).sum::<i32>()
    }

    /// Frees the room of one run of a Job.
    pub(crate) fn release(&mut self, uid: &str, run: u32) {
        self.free += self.held.remove(&(uid.to_owned(), run)).map_or(0, |pods| pods.count);
    }

    /// Frees the room of all pods of a Job.
    pub(crate) fn release_all(&mut self, uid: &str) {
        self.withdraw(uid);
        let runs: Vec<u32> = self.held.keys().filter(|(of, _)| of == uid).map(|(_, run)| *run).collect();
        for run in runs {
            self.release(uid, run);
        }
    }
}
