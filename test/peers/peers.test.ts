import { expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Pair } from './rig.ts';

const UNKNOWN = CODES.outcome_unknown.wire;

test('has no link to this process, and none to a process that it does not know', () => {
  const pair = Pair.up();
  expect(pair.network.cables.length).toBe(1);
  expect(pair.sender.peers.report().map(({ process }) => process)).toEqual(['b']);
  expect(pair.sender.forward(pair.op(1), 'a')).toBe('noLink');
  expect(pair.sender.forward(pair.op(1), 'x')).toBe('noLink');
});

test('a process that leaves may still answer; then its link closes', () => {
  const pair = Pair.up();
  const { sender, owner } = pair;
  sender.forward(pair.op(1));
  pair.run();
  sender.peers.update([]);
  expect([sender.peers.report(), sender.forward(pair.op(2))]).toEqual([[], 'noLink']);
  pair.pass(1_000);
  owner.answer(owner.taken[0].socket, [owner.taken[0].id]);
  pair.run();
  expect(sender.told).toMatchObject([{ id: 1, status: 201 }]);
  pair.pass(200);
  expect(owner.byNumber.size).toBe(0);
  expect(pair.network.cables.length).toBe(1);
});

test('a process that was away for a moment keeps its link', () => {
  const pair = Pair.up();
  const { sender } = pair;
  sender.forward(pair.op(1));
  pair.run();
  sender.peers.update([]);
  sender.peers.update([{ id: 'b', address: '127.0.0.1:7420' }]);
  expect([pair.state, sender.up]).toEqual(['up', ['b', 'b']]);
  expect(sender.forward(pair.op(2))).toBe('taken');
  pair.run();
  expect(pair.network.cables.length).toBe(1);
});

test('ends with everything given up', () => {
  const pair = Pair.up();
  pair.sender.forward(pair.op(1));
  pair.run();
  pair.sender.forward(pair.op(2));
  pair.sender.peers.close();
  expect(pair.sender.told).toMatchObject([{ id: 1, code: UNKNOWN }]);
  expect(pair.sender.returned).toMatchObject([{ id: 2 }]);
  expect(pair.sender.logged).toEqual([]);
  pair.run();
  expect(pair.owner.byNumber.size).toBe(0);
});
