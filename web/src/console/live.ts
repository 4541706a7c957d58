/** Signals of the feed that several parts of the page use. */
export { alerts, link, money, queue, scenario, transitions } from './feed';
import { processes } from './feed';

export const unreachableNow = (): string[] => (processes.value.unreachable ?? []).map((one) => one.name);
