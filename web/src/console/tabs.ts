import { signal } from '@preact/signals';

export const TABS = ['live', 'faults', 'alerts', 'transitions', 'orders', 'drills', 'tour'] as const;
export type Tab = (typeof TABS)[number];
const asked = location.hash.replace('#', '') as Tab;
export const tab = signal<Tab>(TABS.includes(asked) ? asked : 'live');
tab.subscribe((name) => {
  if (location.hash.replace('#', '') !== name && (name !== 'live' || location.hash))
    history.replaceState(null, '', `#${name}`);
});
