// What bench/hot.py bundles into rivals.mjs.
import Tokenizer from "ai-tokenizer";
import * as o200k from "ai-tokenizer/encoding/o200k_base";
import { diff } from "fast-myers-diff";
import { countTokens } from "gpt-tokenizer/encoding/o200k_base";
import { merge } from "node-diff3";

// `<|endoftext|>` in a text is text, for every counter here.
const ai = new Tokenizer({ ...o200k, special_tokens: {} });
export const gptCount = (text) => countTokens(text, { disallowedSpecial: new Set() });
export const aiCount = (text) => ai.count(text);
export { diff as myers, merge };
