import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Rig, startRig } from './rig.ts';
let rig: Rig;
beforeAll(async () => { rig = await startRig(); });
afterAll(() => rig.stop());
async function show(method: string, path: string, body?: unknown, headers: Record<string,string> = {}) {
  const r = await fetch(rig.url + path, { method, headers: { ...(body!==undefined?{'content-type':'application/json'}:{}), ...headers }, ...(body!==undefined?{body: typeof body==='string'?body:JSON.stringify(body)}:{}) });
  const text = await r.text();
  console.log(method, path, r.status, text, [...r.headers].map(h=>h.join('=')).join('; '));
  return text;
}
test('walk', async () => {
  const a = JSON.parse(await show('POST','/v1/locks/order-1',{owner:'me',ttlMs:5000, metadata:{a:1}}));
  await show('POST','/v1/locks/order-1');
  await show('PUT','/v1/locks/order-1',{}, {'holdfast-lock-token':a.lockToken});
  await show('GET','/v1/locks/order-1');
  await show('POST','/v1/locks/order-1/verify',{fencingToken:1});
  await show('GET','/v1/locks?prefix=ord');
  await show('POST','/v1/batch',{ops:[{op:'acquire',name:'x'},{op:'get',name:'x'},{op:'acquire',name:'x'}]});
  await show('POST','/v1/batch',{ops:[{op:'acquire',name:'x',foo:1},{op:'get'},{op:'nope',name:'x'}]});
  await show('DELETE','/v1/locks/order-1',undefined,{'holdfast-lock-token':a.lockToken});
  await show('GET','/v1/cluster'); await show('GET','/readyz'); await show('GET','/metrics'); await show('PATCH','/v1/batch'); await show('GET','/nope');
  expect(rig.logged).toEqual([]);
});
